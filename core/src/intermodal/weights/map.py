"""The weight map: every weight of a model, what it is, and where each kind of checkpoint keeps it.

A map is data. The model creates its variables from it, the loader fills them from it, and the exporter reads it the
other way round; so a variable without a place in the checkpoint cannot exist, nor a second table that disagrees.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from intermodal.weights.transforms import IDENTITY, Transform

Role = Literal["linear", "embedding", "norm", "offset norm", "bias", "table"]
"""What a weight does: decides how it is initialised from scratch, and whether LoRA and narrow storage reach it."""

IfAbsent = Literal["refused", "left out", "new"]
"""What becomes of a weight that a checkpoint lacks: an error; the model is made without its module; or, where another
task gets a new head, it is new as well, because it stands between backbone and head."""

HUGGINGFACE = "huggingface"

Prefix = str | Mapping[str, str]
"""What checkpoints write before the backbone's names: one text for all; or, for models made of parts, by what names
begin with, what stands there instead: `{"": "language_model.model.", "vision_tower.": "vision_tower.vision_model."}`.
The longest beginning counts."""


@dataclass(frozen=True)
class Part:
    """A slice along one axis: rows `start` to `start + size` of something larger."""

    axis: int
    start: int
    size: int

    def index(self) -> tuple[slice, ...]:
        """The slice as numpy takes it."""
        return (*(slice(None),) * self.axis, slice(self.start, self.start + self.size))


@dataclass(frozen=True)
class Alias:
    """Where one dialect keeps a weight: under which name, how its values differ, and which part of the tensor it is."""

    name: str
    transform: Transform = IDENTITY
    part: Part | None = None
    of_shape: tuple[int, ...] | None = None
    """Shape of the whole tensor that `part` is a slice of."""


@dataclass(frozen=True)
class Weight:
    """One weight, named and shaped as a Hugging Face checkpoint has it (without the prefix of the backbone).

    Attributes:
        name: `"layers.0.self_attn.q_proj.weight"`.
        shape: as stored, (out, in) for a linear.
        role: see `Role`.
        axes: what each axis is, for sharding: `("heads", "hidden")`. None is never sharded.
        aliases: how other dialects keep it.
        legacy: other spellings of the name that Hugging Face files bear.
        head: it belongs to the task's head, not to the backbone.
        tied_to: it is the very same variable as this one.
        block: `("layers", 0)` for weights of a repeated block.
        place: the variable it lives in and the slice of it; None: a variable of its own, of the same name.
        if_absent: see `IfAbsent`.
        folder: where Hugging Face checkpoints keep it in a file of its own, `"2_Dense"`; its name begins with it.
        frozen: training leaves it as it is, as it does the statistics of a batch norm.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    axes: tuple[str | None, ...]
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    legacy: tuple[str, ...] = ()
    head: bool = False
    tied_to: str | None = None
    block: tuple[str, int] | None = None
    place: tuple[str, Part] | None = None
    if_absent: IfAbsent = "refused"
    folder: str = ""
    frozen: bool = False

    @property
    def module(self) -> str:
        """Name of the linear, embedding or norm that it belongs to."""
        return self.name.rpartition(".")[0]

    @property
    def variable(self) -> str:
        """Name of the variable that holds it."""
        return self.place[0] if self.place else self.name


@dataclass(frozen=True)
class Variable:
    """A variable of the model: one weight, or several side by side.

    Attributes:
        weights: what it is made of, each with its slice (None: the whole variable).
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    axes: tuple[str | None, ...]
    weights: tuple[tuple[Weight, Part | None], ...]

    @property
    def block(self) -> tuple[str, int] | None:
        """The repeated block it belongs to."""
        return self.weights[0][0].block

    @property
    def frozen(self) -> bool:
        """Whether training leaves it as it is."""
        return self.weights[0][0].frozen

    @property
    def head(self) -> bool:
        """Whether it belongs to the task's head."""
        return self.weights[0][0].head


@dataclass(frozen=True)
class Ignored:
    """Tensors that a checkpoint may hold and that are not loaded, with the reason that the report gives."""

    pattern: str
    reason: str

    def matches(self, name: str) -> bool:
        """Whether `name` is one of them."""
        return re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class WeightMap:
    """All weights of one model.

    Attributes:
        weights: backbone first, then the head.
        prefix: what Hugging Face's own class for this task writes before backbone names.
        prefixes: all prefixes that checkpoints are known to have; one of them holds for a whole checkpoint.
        ignored: tensors that are left alone, with reasons.
        base_prefix: the prefix when the backbone is saved without a head.
        left_out: weights of the family's map that this model is made without.
    """

    weights: tuple[Weight, ...]
    prefix: Prefix = ""
    prefixes: tuple[Prefix, ...] = ("",)
    ignored: tuple[Ignored, ...] = ()
    base_prefix: Prefix = ""
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [w.name for w in self.weights]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"a weight map names {', '.join(twice)} more than once")

    @property
    def has_head(self) -> bool:
        """Whether the model's own file holds a head, even one that is tied to the backbone."""
        return any(weight.head and not weight.folder for weight in self.weights)

    def __getitem__(self, name: str) -> Weight:
        return self.by_name()[name]

    def by_name(self) -> dict[str, Weight]:
        """The weights by name."""
        return {weight.name: weight for weight in self.weights}

    def without(self, names: Collection[str]) -> WeightMap:
        """The map of a model that lacks these weights."""
        kept = tuple(weight for weight in self.weights if weight.name not in names)
        return replace(self, weights=kept, left_out=(*self.left_out, *names))

    def with_more(self, weights: Iterable[Weight]) -> WeightMap:
        """The map of a model that has these weights, too."""
        return replace(self, weights=(*self.weights, *weights))

    def variables(self) -> list[Variable]:
        """The variables the model creates, in order: weights of a shared place together, tied ones not at all.

        Raises:
            ValueError: the parts of a variable overlap, leave a gap or differ in their other axes.
        """
        groups: dict[str, list[Weight]] = {}
        for weight in self.weights:
            if weight.tied_to is None:
                groups.setdefault(weight.variable, []).append(weight)
        return [_variable(name, members) for name, members in groups.items()]


def prefixed(prefix: Prefix, name: str) -> str:
    """A backbone's name as a checkpoint with this prefix has it."""
    if isinstance(prefix, str):
        return prefix + name
    beginning = max(filter(name.startswith, prefix), key=len)
    return prefix[beginning] + name[len(beginning) :]


def unprefixed(prefix: Prefix, name: str) -> str:
    """A backbone's name without the prefix that a checkpoint writes before it; as it is where it has none."""
    beginnings = {"": prefix} if isinstance(prefix, str) else prefix
    for beginning, lead in sorted(beginnings.items(), key=lambda pair: len(pair[1]), reverse=True):
        if name.startswith(lead):
            return beginning + name[len(lead) :]
    return name


def _variable(name: str, members: Sequence[Weight]) -> Variable:
    first = members[0]
    if first.place is None:
        return Variable(name, first.shape, first.role, first.axes, ((first, None),))
    parts = sorted(((weight, weight.place[1]) for weight in members if weight.place), key=lambda pair: pair[1].start)
    axis, end = parts[0][1].axis, 0
    for weight, part in parts:
        rest = weight.shape[:axis] + weight.shape[axis + 1 :]
        expected = first.shape[:axis] + first.shape[axis + 1 :]
        if part.axis != axis or part.start != end or part.size != weight.shape[axis] or rest != expected:
            raise ValueError(f"{weight.name} does not continue variable {name} at {end} along axis {axis}")
        end += part.size
    shape = (*first.shape[:axis], end, *first.shape[axis + 1 :])
    return Variable(name, shape, first.role, first.axes, tuple(parts))


# --- the words in which a family writes its map ----------------------------------------------------------------------


def linear(
    name: str,
    inputs: int,
    outputs: int,
    *,
    bias: bool = False,
    axes: tuple[str | None, str | None] = (None, None),
    gguf: str | None = None,
    gguf_transform: Transform = IDENTITY,
) -> list[Weight]:
    """A linear layer: `name.weight` of shape (outputs, inputs), and `name.bias` of shape (outputs,)."""
    weights = [Weight(f"{name}.weight", (outputs, inputs), "linear", axes, _gguf(gguf, "weight", gguf_transform))]
    if bias:
        weights.append(Weight(f"{name}.bias", (outputs,), "bias", axes[:1], _gguf(gguf, "bias", gguf_transform)))
    return weights


def embedding(name: str, rows: int, width: int, *, gguf: str | None = None) -> list[Weight]:
    """An embedding table: `name.weight` of shape (rows, width)."""
    return [Weight(f"{name}.weight", (rows, width), "embedding", ("vocabulary", "hidden"), _gguf(gguf, "weight"))]


def norm(
    name: str,
    width: int,
    *,
    bias: bool = False,
    offset: bool = False,
    gguf: str | None = None,
    gguf_transform: Transform = IDENTITY,
) -> list[Weight]:
    """A normalisation: `name.weight` of shape (width,), and `name.bias`. With `offset`, 1 is added to the weight."""
    role: Role = "offset norm" if offset else "norm"
    weights = [Weight(f"{name}.weight", (width,), role, (None,), _gguf(gguf, "weight", gguf_transform))]
    if bias:
        weights.append(Weight(f"{name}.bias", (width,), "bias", (None,), _gguf(gguf, "bias")))
    return weights


def conv1d(name: str, inputs: int, outputs: int, kernel: int, *, groups: int = 1, bias: bool = False) -> list[Weight]:
    """A convolution of sequences: `name.weight` of shape (outputs, inputs / groups, kernel), and `name.bias`."""
    weights = [Weight(f"{name}.weight", (outputs, inputs // groups, kernel), "table", (None, None, None))]
    return weights + ([Weight(f"{name}.bias", (outputs,), "bias", (None,))] if bias else [])


def conv2d(
    name: str, inputs: int, outputs: int, kernel: tuple[int, int], *, groups: int = 1, bias: bool = False
) -> list[Weight]:
    """A convolution of images: `name.weight` of shape (outputs, inputs / groups, *kernel), and `name.bias`."""
    weights = [Weight(f"{name}.weight", (outputs, inputs // groups, *kernel), "table", (None,) * 4)]
    return weights + ([Weight(f"{name}.bias", (outputs,), "bias", (None,))] if bias else [])


def repeat(name: str, count: int, weights: Iterable[Weight], *, gguf: str | None = None) -> list[Weight]:
    """The same weights `count` times, as `name.0.…`, `name.1.…`; in GGUF as `gguf.0.…`."""
    template = list(weights)
    return numbered(name, [template] * count, gguf=gguf)


def numbered(name: str, blocks: Iterable[Iterable[Weight]], *, gguf: str | None = None) -> list[Weight]:
    """The weights of each block in turn, as `name.0.…`, `name.1.…`, where blocks differ; in GGUF as `gguf.0.…`."""

    def aliases(weight: Weight, number: int) -> dict[str, Alias]:
        stems = {"gguf": gguf or name}
        return {
            dialect: replace(alias, name=f"{stems.get(dialect, name)}.{number}.{alias.name}")
            for dialect, alias in weight.aliases.items()
        }

    return [
        replace(
            weight,
            name=f"{name}.{number}.{weight.name}",
            aliases=aliases(weight, number),
            legacy=tuple(f"{name}.{number}.{spelling}" for spelling in weight.legacy),
            block=(name, number),
            place=(f"{name}.{number}.{weight.place[0]}", weight.place[1]) if weight.place else None,
        )
        for number, block in enumerate(blocks)
        for weight in block
    ]


def fuse(variable: str, weights: Sequence[Weight], *, axis: int = 0) -> list[Weight]:
    """Let several weights share one variable, side by side along `axis`; each stays a tensor of its own in files."""
    start, fused = 0, []
    for weight in weights:
        size = weight.shape[axis]
        fused.append(replace(weight, place=(variable, Part(axis, start, size))))
        start += size
    return fused


def split(source: str, weights: Sequence[Weight], *, axis: int = 0, dialect: str = HUGGINGFACE) -> list[Weight]:
    """Say that a dialect keeps several weights as one tensor `source`, side by side along `axis`."""
    total = sum(weight.shape[axis] for weight in weights)
    start, parts = 0, []
    for weight in weights:
        size = weight.shape[axis]
        whole = (*weight.shape[:axis], total, *weight.shape[axis + 1 :])
        alias = Alias(source, part=Part(axis, start, size), of_shape=whole)
        parts.append(replace(weight, aliases={**weight.aliases, dialect: alias}))
        start += size
    return parts


def renamed(dialect: str, name: str, weights: Sequence[Weight], transform: Transform = IDENTITY) -> list[Weight]:
    """Say that a dialect keeps these weights as `name.weight` and `name.bias`, with values changed by `transform`."""
    return [
        replace(
            weight, aliases={**weight.aliases, dialect: Alias(f"{name}.{weight.name.rpartition('.')[2]}", transform)}
        )
        for weight in weights
    ]


def head(weights: Iterable[Weight], *, tied_to: str | None = None) -> list[Weight]:
    """Mark weights as the task's head; `tied_to` names the backbone's variable that it shares."""
    return [replace(weight, head=True, tied_to=tied_to) for weight in weights]


def _gguf(name: str | None, suffix: str, transform: Transform = IDENTITY) -> dict[str, Alias]:
    return {"gguf": Alias(f"{name}.{suffix}", transform)} if name else {}
