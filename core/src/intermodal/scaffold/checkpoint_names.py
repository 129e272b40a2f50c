"""The names in a checkpoint, put in order: prefix, repeated blocks, and modules with their tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...] | None
"""None where only a name is known."""

Module = dict[str, Shape]
"""The tensors of one module by what stands behind its name: `weight`, `bias`."""

_BLOCK = re.compile(r"(.+?)\.(\d+)\.(.+)")


@dataclass
class Structure:
    """The tensors of a checkpoint.

    Attributes:
        prefix: what stands before the names of the backbone.
        modules: name → tensors, of what is there once.
        stacks: name of a stack → name in a block → tensors, where all blocks are alike.
        counts: name of a stack → how many blocks it has.
        uneven: full names of modules that only some blocks have, or in other shapes → tensors.
        head: modules outside of the backbone.
    """

    prefix: str
    modules: dict[str, Module] = field(default_factory=dict)
    stacks: dict[str, dict[str, Module]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    uneven: dict[str, Module] = field(default_factory=dict)
    head: dict[str, Module] = field(default_factory=dict)


def structure_of(tensors: Mapping[str, Shape], prefixes: Collection[str], heads: Collection[str]) -> Structure:
    """Sort a checkpoint's tensors.

    Args:
        tensors: name → shape.
        prefixes: prefixes that are likely.
        heads: names of modules that are no part of a backbone, where a checkpoint has no prefix to tell.
    """
    prefix = _prefix(tensors, prefixes)
    found = Structure(prefix)
    blocks: dict[str, dict[int, dict[str, Module]]] = {}
    for name, shape in tensors.items():
        module, _, suffix = name.removeprefix(prefix).rpartition(".")
        if not name.startswith(prefix) or module in heads:
            found.head.setdefault(module, {})[suffix] = shape
        elif match := _BLOCK.fullmatch(f"{module}.{suffix}"):
            inner, _, suffix = match[3].rpartition(".")
            blocks.setdefault(match[1], {}).setdefault(int(match[2]), {}).setdefault(inner, {})[suffix] = shape
        else:
            found.modules.setdefault(module, {})[suffix] = shape
    for stack, numbered in blocks.items():
        found.counts[stack] = max(numbered) + 1
        alike = {
            inner: tensors
            for inner, tensors in numbered[min(numbered)].items()
            if len(numbered) == max(numbered) + 1 and all(block.get(inner) == tensors for block in numbered.values())
        }
        found.stacks[stack] = alike
        found.uneven |= {
            f"{stack}.{number}.{inner}": tensors
            for number, block in sorted(numbered.items())
            for inner, tensors in block.items()
            if inner not in alike
        }
    return found


def _prefix(names: Collection[str], likely: Collection[str]) -> str:
    """The prefix of most names, if any: a likely one, else the first part that most share and that is no stack."""
    for prefix in sorted(likely, key=len, reverse=True):
        if prefix and 2 * sum(name.startswith(prefix) for name in names) > len(names):
            return prefix
    first, count = Counter(name.partition(".")[0] for name in names).most_common(1)[0]
    below = [name.removeprefix(f"{first}.") for name in names if name.startswith(f"{first}.")]
    is_stack = any(name[:1].isdigit() for name in below)
    alone = len({name.partition(".")[0] for name in below}) < 2
    return "" if is_stack or alone or 2 * count <= len(names) else f"{first}."
