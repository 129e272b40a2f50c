"""The plan: which tensor of a checkpoint goes where. Made from names and shapes alone, before anything is read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from intermodal.checkpoints.base import TensorInfo
from intermodal.errors import WeightError
from intermodal.weights.map import HUGGINGFACE, Alias, Part, Prefix, Variable, Weight, WeightMap, prefixed

_SHOWN = 8  # names listed in an error before "and n more"


@dataclass(frozen=True)
class Piece:
    """One weight's way from a tensor into its variable."""

    weight: Weight
    source: TensorInfo
    alias: Alias
    place: Part | None


@dataclass(frozen=True)
class Plan:
    """What will be read into each variable.

    Attributes:
        pieces: variable name → what fills it; complete for every variable that is not in `new`.
        tied: weights that are another's variable; `tied_copies` are those whose tensor the checkpoint holds as well.
        ignored: tensor name → why it is not loaded.
        new: head variables that the checkpoint lacks and that will be initialised.
        left_out: weights that the checkpoint lacks and the model is made without.
        prefix: what backbone names begin with in this checkpoint.
        mismatched: tensors of another shape than the config says, each with its shape and the expected one; the
            variables that they were for are in `new`.
    """

    variables: tuple[Variable, ...]
    pieces: Mapping[str, tuple[Piece, ...]]
    tied: Mapping[str, str]
    tied_copies: Mapping[str, TensorInfo]
    ignored: Mapping[str, str]
    new: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    prefix: Prefix = ""
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def untrained(self) -> Plan:
        """The same variables, with nothing read into them."""
        new = tuple(variable.name for variable in self.variables)
        return replace(self, pieces={}, tied_copies={}, new=new)


@dataclass
class _Findings:
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    used: dict[str, list[Piece]] = field(default_factory=dict)


def make_plan(
    weight_map: WeightMap,
    tensors: Mapping[str, TensorInfo],
    dialect: str = HUGGINGFACE,
    *,
    new_head: bool = False,
    heads_elsewhere: Iterable[str] = (),
    strict: bool = True,
    ignore_mismatched_sizes: bool = False,
) -> Plan:
    """Match a map with the tensors of a checkpoint.

    Args:
        weight_map: the family's map for this config and task.
        tensors: what the checkpoint's headers say.
        dialect: whose names they are.
        new_head: the checkpoint is known to be of another task: a head that is missing is made anew.
        heads_elsewhere: names of heads that this task does not ask for; only looked at if a tensor has no other place.
        strict: unexpected tensors are an error; else they are reported as ignored.
        ignore_mismatched_sizes: variables whose tensors have another shape are made anew, instead of an error.

    Raises:
        WeightError: tensors are missing, unexpected or of another shape; all of them are named in one message.
    """
    prefix = prefix_of(weight_map, tensors) if dialect == HUGGINGFACE else ""
    found = _Findings()
    pieces: dict[str, list[Piece]] = {}
    new: list[str] = []
    left_out: dict[str, Weight] = {}
    tied: dict[str, str] = {}
    copies: dict[str, TensorInfo] = {}
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for weight in weight_map.weights:
        alias, info = find_tensor(weight, tensors, dialect, prefix)
        if weight.tied_to is not None:
            tied[weight.name] = weight.tied_to
            if info is not None:
                copies[weight.name] = info
                found.used[info.name] = []
            continue
        if info is None:
            if new_head and not weight.folder and (weight.head or weight.if_absent == "new"):
                new.append(weight.variable)
            elif weight.if_absent == "left out":
                left_out[alias.name] = weight
            else:
                found.missing.append(f"{alias.name} {weight.shape}")
            continue
        expected = alias.of_shape or alias.transform.stored_shape(weight.shape)
        used = found.used.setdefault(info.name, [])
        if info.shape != expected and ignore_mismatched_sizes:
            mismatched[info.name] = (info.shape, expected)
            new.append(weight.variable)
            continue
        if info.shape != expected:
            found.wrong.append(f"{info.name} in {info.file}: shape {info.shape}, the config says {expected}")
            continue
        piece = Piece(weight, info, alias, weight.place[1] if weight.place else None)
        used.append(piece)
        pieces.setdefault(weight.variable, []).append(piece)

    ignored, unexpected = _unused(weight_map, tensors, found.used, heads_elsewhere, strict)
    _check_parts(found)
    _check_left_out(found, left_out, pieces)
    if found.missing or found.wrong or unexpected:
        raise WeightError(_message(found, unexpected, prefix))
    return Plan(
        variables=tuple(weight_map.without([weight.name for weight in left_out.values()]).variables()),
        pieces={name: tuple(parts) for name, parts in pieces.items() if name not in new},
        tied=tied,
        tied_copies=copies,
        ignored=ignored,
        new=tuple(dict.fromkeys(new)),
        left_out=tuple(weight.name for weight in left_out.values()),
        prefix=prefix,
        mismatched=mismatched,
    )


def prefix_of(weight_map: WeightMap, tensors: Collection[str]) -> Prefix:
    """The one prefix under which most backbone names are found; resolved once, from the whole list of names."""
    names = [spelling for w in weight_map.weights if not w.head for spelling in (name_in(w, HUGGINGFACE), *w.legacy)]
    return max(weight_map.prefixes, key=lambda prefix: sum(prefixed(prefix, name) in tensors for name in names))


def name_in(weight: Weight, dialect: str) -> str:
    """What a dialect calls the tensor that holds a weight, without a prefix."""
    alias = weight.aliases.get(dialect)
    return alias.name if alias else weight.name


def find_tensor(
    weight: Weight, tensors: Mapping[str, TensorInfo], dialect: str, prefix: Prefix
) -> tuple[Alias, TensorInfo | None]:
    """The alias under which a dialect keeps the weight, and the tensor if it is there."""
    alias = weight.aliases.get(dialect) or Alias(weight.name)
    lead = "" if weight.head else prefix
    for spelling in (alias.name, *weight.legacy):
        if (name := prefixed(lead, spelling)) in tensors:
            return alias, tensors[name]
    return Alias(prefixed(lead, alias.name), alias.transform, alias.part, alias.of_shape), None


def _unused(
    weight_map: WeightMap,
    tensors: Mapping[str, TensorInfo],
    used: Mapping[str, list[Piece]],
    heads_elsewhere: Iterable[str],
    strict: bool,
) -> tuple[dict[str, str], list[str]]:
    ignored: dict[str, str] = {}
    left: list[TensorInfo] = []
    for name, info in tensors.items():
        if name in used:
            continue
        reason = next((rule.reason for rule in weight_map.ignored if rule.matches(name)), None)
        if reason is None:
            left.append(info)
        else:
            ignored[name] = reason
    unexpected: list[str] = []
    others = set(heads_elsewhere) if left else set()
    for info in left:
        if info.name in others:
            ignored[info.name] = "the head of another task"
        elif not strict:
            ignored[info.name] = "unexpected, and strict=False"
        else:
            unexpected.append(f"{info.name} {info.shape}")
    return ignored, unexpected


def _check_parts(found: _Findings) -> None:
    """Every element of a tensor that is read in parts has exactly one place."""
    for name, pieces in found.used.items():
        parts = sorted((piece.alias.part for piece in pieces if piece.alias.part), key=lambda part: part.start)
        if not parts:
            if len(pieces) > 1:
                found.wrong.append(f"{name} would fill {len(pieces)} weights")
            continue
        end = 0
        for part in parts:
            if part.start != end:
                found.wrong.append(f"{name}: rows {end} to {part.start} have no place, or have two")
            end = part.start + part.size
        if end != pieces[0].source.shape[parts[0].axis]:
            found.wrong.append(f"{name}: rows from {end} on have no place")


def _check_left_out(found: _Findings, left_out: Mapping[str, Weight], pieces: Mapping[str, list[Piece]]) -> None:
    """A module is left out as a whole: a weight without its bias is a damaged checkpoint."""
    loaded = {piece.weight.module for parts in pieces.values() for piece in parts}
    found.missing.extend(f"{name} {weight.shape}" for name, weight in left_out.items() if weight.module in loaded)


def _message(found: _Findings, unexpected: list[str], prefix: Prefix) -> str:
    lines = ["The checkpoint does not fit its config:"]
    for word, names in (("missing", found.missing), ("unexpected", unexpected), ("wrong", found.wrong)):
        if names:
            more = f" … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"  {word} ({len(names)}): " + "; ".join(names[:_SHOWN]) + more)
    lines.append(f"  backbone names were looked for under the prefix {prefix!r}.")
    if found.missing or found.wrong:
        lines.append("  Check that config.json belongs to these weights, and that no shard is missing.")
    if found.wrong and not found.missing:
        lines.append("  To train weights of another shape anew, load with ignore_mismatched_sizes=True.")
    if unexpected and not (found.missing or found.wrong):
        lines.append("  If these tensors do not matter, load with strict=False: they are then listed as ignored.")
    return "\n".join(lines)


def plan_bytes(plan: Plan) -> tuple[int, int]:
    """Number of parameters in a plan's variables, and the bytes that reading them takes from the files."""
    parameters = sum(math.prod(variable.shape) for variable in plan.variables)
    stored = {piece.source.name: piece.source.nbytes for pieces in plan.pieces.values() for piece in pieces}
    return parameters, sum(stored.values())
