"""The module of a weight map, from a checkpoint's names and shapes and from what a like family knows of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

from intermodal.scaffold.checkpoint_names import Module, Shape, Structure, structure_of
from intermodal.scaffold.known_modules import KnownMap, KnownModule
from intermodal.scaffold.names import Names
from intermodal.scaffold.python_source import WIDTH, import_lines, listed, quoted
from intermodal.scaffold.shapes import LOCALS, Sizes
from intermodal.weights.map import WeightMap

UNKNOWN_SIZE = 'unfinished("look up this size: the index tells names alone")'
NO_MODULE = KnownModule({}, {})


class WeightSource:
    """The writer of one module.

    Args:
        names: of the new plugin.
        config_class: the name of its config class.
        tensors: name → shape, or None where only names are known.
        sizes: what numbers mean in the checkpoint's config.
        known: the like family's map.
    """

    def __init__(
        self, names: Names, config_class: str, tensors: Mapping[str, Shape], sizes: Sizes, known: KnownMap
    ) -> None:
        self.names, self.config_class, self.sizes, self.known = names, config_class, sizes, known
        self.map = next(iter(known.maps.values()), WeightMap(()))
        ignored = {name for name in tensors if any(item.matches(name) for item in self.map.ignored)}
        likely = [prefix for prefix in self.map.prefixes if isinstance(prefix, str)]
        heads = {module for of_task in known.heads.values() for module in of_task}
        self.found: Structure = structure_of({n: s for n, s in tensors.items() if n not in ignored}, likely, heads)
        self.used: set[str] = set()
        self.words: set[str] = {"Weight", "WeightMap"}

    def text(self) -> str:
        """The whole module."""
        body = self._backbone()
        head = self._head()
        places = [f"    {LOCALS[text]} = {text}" for text in LOCALS if text in self.used]
        ignored = [f"    Ignored({_raw(i.pattern)}, {quoted(i.reason)})," for i in self.map.ignored]
        if ignored:
            self.words.add("Ignored")
        note = f"Where {self.names.stem} checkpoints keep their weights: Hugging Face's names"
        lines = [
            f'"""{note}{", and llama.cpp" + chr(39) + "s for GGUF" if self.known.gguf_stacks else ""}."""',
            "",
            "from __future__ import annotations",
            "",
            *import_lines(self.words),
            "",
            f"from {self.names.package}.config import {self.config_class}",
            "",
            *(["IGNORED = (", *ignored, ")", "", ""] if ignored else [""]),
            f"def weight_map(config: {self.config_class}, task: str) -> WeightMap:",
            '    """The weight map of a config for a task."""',
            *places,
            *body,
            "    return WeightMap(",
            "        weights=(*backbone, *_head(config, task)),",
            f"        prefix={self._prefix()},",
            f"        prefixes={self._prefixes()},",
            *(["        ignored=IGNORED,"] if ignored else []),
            "    )",
            "",
            "",
            *head,
        ]
        return "\n".join(lines) + "\n"

    # --- the backbone ------------------------------------------------------------------------------------------------

    def _backbone(self) -> list[str]:
        found = self.found
        blocks = {
            stack: "block" if len(found.stacks) == 1 else f"{stack.replace('.', '_')}_block" for stack in found.stacks
        }
        order = {key: number for number, key in enumerate(self.known.modules)}
        first = {stack: min((n for (s, _), n in order.items() if s == stack), default=len(order)) for stack in blocks}
        lines: list[str] = []
        for stack, modules in found.stacks.items():
            lines.append(f"    {blocks[stack]} = [")
            ordered = sorted(modules, key=lambda name, stack=stack: order.get((stack, name), len(order)))
            for name in ordered:
                lines += self._declared(name, modules[name], self.known.modules.get((stack, name), NO_MODULE))
            lines.append("    ]")
        lines.append("    backbone = [")
        entries = [(order.get((None, name), len(order)), name, "") for name in found.modules]
        entries += [(number, "", stack) for stack, number in first.items()]
        for _, name, stack in sorted(entries, key=lambda entry: entry[0]):
            if stack:
                lines += self._repeated(stack, blocks[stack])
            else:
                lines += self._declared(name, found.modules[name], self.known.modules.get((None, name), NO_MODULE))
        if found.uneven:
            lines.append("        # Blocks differ from each other in these:")
        for name, tensors in found.uneven.items():
            lines += self._declared(name, tensors, NO_MODULE)
        return [*lines, "    ]"]

    def _repeated(self, stack: str, block: str) -> list[str]:
        self.words.add("repeat")
        gguf = self.known.gguf_stacks.get(stack)
        option = [f"gguf={quoted(gguf)}"] if gguf else []
        return _call(8, "*repeat", [quoted(stack), self._count(self.found.counts[stack]), block, *option], ",")

    def _count(self, number: int) -> str:
        layers = self.sizes.layers
        return next((f"config.{name}" for name, value in layers.items() if value == number), str(number))

    # --- one module --------------------------------------------------------------------------------------------------

    def _declared(self, name: str, tensors: Module, known: KnownModule, indent: int = 8) -> list[str]:
        """The lines that declare a module, with a comment where something is not known."""
        word, arguments, notes = self._words(name, tensors, known)
        comments = [" " * indent + f"# {note}" for note in notes]
        return comments + [line for call in arguments for line in _call(indent, f"*{word}" if word else "", call, ",")]

    def _words(self, name: str, tensors: Module, known: KnownModule) -> tuple[str, list[list[str]], list[str]]:
        """The word of the API that declares a module, its arguments for each call, and comments."""
        notes: list[str] = []
        shape, rest = tensors.get("weight"), set(tensors) - {"weight", "bias"}
        role = known.first.role if known.weights else _guessed_role(name, shape)
        bias = ["bias=True"] if "bias" in tensors else []
        gguf = [f"gguf={quoted(known.gguf)}"] if known.gguf else []
        if known.transformed:
            notes.append(
                f"{name} in GGUF: {self.known.owner} has {known.transformed} there; compare llama.cpp's converter."
            )
        if rest or "weight" not in tensors or role not in ("linear", "embedding", "norm", "offset norm"):
            self.words.add("Weight")
            calls = [self._weight(f"{name}.{suffix}".lstrip("."), suffix, tensors, known, notes) for suffix in tensors]
            return "", calls, notes
        hints = known.hints.get("weight", ())
        sizes = [self._size(name, size, hint, notes) for size, hint in _paired(shape, hints)]
        word = {"offset norm": "norm"}.get(role, role)
        self.words.add(word)
        if role == "linear":
            sizes = sizes[::-1]
            axes = known.first.axes if known.weights else (None, None)
            named = listed("None" if axis is None else quoted(axis) for axis in axes)
            bias += [f"axes={named}"] if any(axes) else []
        elif role == "offset norm":
            bias += ["offset=True"]
        return word, [[quoted(name), *sizes, *bias, *gguf]], notes

    def _weight(self, name: str, suffix: str, tensors: Module, known: KnownModule, notes: list[str]) -> list[str]:
        shape, hints = tensors[suffix], known.hints.get(suffix, ())
        sizes = [self._size(name, size, hint, notes) for size, hint in _paired(shape, hints)]
        role = known.weights[suffix].role if suffix in known.weights else "bias" if suffix == "bias" else "table"
        axes = listed(["None"] * len(sizes))
        return [f"Weight({quoted(name)}, {listed(sizes)}, {quoted(role)}, {axes})"]

    def _size(self, name: str, size: int | None, hint: str | None, notes: list[str]) -> str:
        """A size in terms of the config where that is clear, else the number and a comment."""
        if hint is not None and hint.isdecimal() and size in (None, int(hint)):
            return hint
        text = hint if size is None else self.sizes.unambiguous(size, hint)
        if text is not None:
            if text in LOCALS:
                self.used.add(text)
            return LOCALS.get(text, text)
        if size is None:
            self.words.add("unfinished")
            return UNKNOWN_SIZE
        several = [text.replace("config.", "") for text in self.sizes.named(size)]
        notes.append(f"{name}: {size} is {' or '.join(several) if several else 'no field of the config'}.")
        return str(size)

    # --- heads and prefixes ------------------------------------------------------------------------------------------

    def _head(self) -> list[str]:
        lines = [f"def _head(config: {self.config_class}, task: str) -> list[Weight]:"]
        cases: list[str] = []
        used, self.used = self.used, set()
        for task, modules in self.known.heads.items():
            cases.append(f"        case {quoted(task)}:")
            cases += self._case(modules)
        places = [f"    {LOCALS[text]} = {text}" for text in LOCALS if text in self.used]
        self.used = used
        if not cases:
            return [*lines, "    return []"]
        self.words.add("head")
        return [*lines, *places, "    match task:", *cases, "        case _:", "            return []"]

    def _case(self, modules: Mapping[str, KnownModule]) -> list[str]:
        """The head of a task: the like family's modules, in the checkpoint's shapes where it holds them."""
        groups: dict[str | None, list[str]] = {}
        lines: list[str] = []
        for name, known in modules.items():
            tensors: Module = self.found.head.get(name) or dict.fromkeys(known.weights)
            word, calls, notes = self._words(name, tensors, known)
            lines += [f"            # {note}" for note in notes]
            for call in calls:
                groups.setdefault(known.first.tied_to, []).append(f"{word}({', '.join(call)})" if word else call[0])
        parts: list[str] = []
        for number, (tied, calls) in enumerate(groups.items()):
            variable = "weights" if number == 0 else f"more_{number}"
            value = calls[0] if len(calls) == 1 and not calls[0].startswith("Weight(") else _list_of(calls)
            tie = f", tied_to={quoted(tied)} if config.tie_word_embeddings else None" if tied else ""
            if len(groups) == 1 and not tied and len(f"            return head({value})") <= WIDTH:
                return [*lines, f"            return head({value})"]
            lines += _assigned(variable, value)
            parts.append(f"head({variable}{tie})")
        joined = parts[0] if len(parts) == 1 else "[" + ", ".join(f"*{part}" for part in parts) + "]"
        return [*lines, f"            return {joined}"]

    def _prefix(self) -> str:
        by_task = {task: whole.prefix for task, whole in self.known.maps.items() if isinstance(whole.prefix, str)}
        usual = Counter(by_task.values()).most_common(1)[0][0] if by_task else self.found.prefix
        others = [(task, prefix) for task, prefix in by_task.items() if prefix != usual]
        own = quoted(self.found.prefix or usual)
        if len(others) == 1 and self.found.prefix in ("", usual):
            task, prefix = others[0]
            return f"{quoted(prefix)} if task == {quoted(task)} else {own}"
        return own

    def _prefixes(self) -> str:
        known = [prefix for prefix in self.map.prefixes if isinstance(prefix, str)]
        own = self.found.prefix
        return listed(map(quoted, known if own in known else [own, ""] if own else [""]))


def _paired(shape: Shape, hints: tuple[str | None, ...]) -> list[tuple[int | None, str | None]]:
    """Each size with what another family calls it; sizes are None where only names are known."""
    sizes = list(shape) if shape is not None else [None] * (len(hints) or 1)
    return list(itertools.zip_longest(sizes, hints[: len(sizes)]))


def _guessed_role(name: str, shape: Shape) -> str:
    last = name.rpartition(".")[2].lower()
    if "embed" in last or last in ("wte", "wpe", "shared"):
        return "embedding"
    if shape is None:
        return "norm" if "norm" in last or last.startswith("ln") else "linear"
    return {1: "norm", 2: "linear"}.get(len(shape), "table")


def _call(indent: int, word: str, arguments: list[str], end: str) -> list[str]:
    """A call as the formatter leaves it: in one line, or with its arguments in a line of their own, or one a line."""
    space = " " * indent
    if not word:
        return [f"{space}{arguments[0]}{end}"]
    joined = ", ".join(arguments)
    if len(f"{space}{word}({joined}){end}") <= WIDTH:
        return [f"{space}{word}({joined}){end}"]
    if len(f"{space}    {joined}") <= WIDTH:
        return [f"{space}{word}(", f"{space}    {joined}", f"{space}){end}"]
    return [f"{space}{word}(", *(f"{space}    {argument}," for argument in arguments), f"{space}){end}"]


def _assigned(variable: str, value: str) -> list[str]:
    space = " " * 12
    if len(line := f"{space}{variable} = {value}") <= WIDTH:
        return [line]
    return [f"{space}{variable} = (", f"{space}    {value}", f"{space})"]


def _list_of(calls: Iterable[str]) -> str:
    return "[" + ", ".join(call if call.startswith("Weight(") else f"*{call}" for call in calls) + "]"


def _raw(pattern: str) -> str:
    return f'r"{pattern}"' if '"' not in pattern else repr(pattern)
