"""Where two runs of one model part: what goes into and comes out of each module that owns weights, ours and theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.weights.map import unprefixed

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel
    from intermodal.testing.references import Reference


@dataclass(frozen=True)
class Passage:
    """One module at work: its name as the weight map has it, and the activations on both sides of it."""

    name: str
    before: np.ndarray
    after: np.ndarray

    @property
    def looks_up(self) -> bool:
        """Whether it takes indices, as an embedding does."""
        return not np.issubdtype(self.before.dtype, np.floating)


def first_difference(model: TaskModel, reference: Reference, inputs: dict[str, np.ndarray], tolerance: float) -> str:
    """The first module, in the order of computing, at which a model leaves its reference; for a failing test.

    Args:
        model: ours, of that reference's checkpoint.
        reference: its checkpoint is loaded by transformers again, which costs a second or two.
        inputs: of the call to compare.
        tolerance: as a share of the largest value of an activation.
    """
    theirs = {passage.name: passage for passage in trace_reference(model, reference, inputs)}
    ours = [passage for passage in trace_model(model, inputs) if passage.name in theirs]
    agreed = "the inputs"
    for number, passage in enumerate(ours):
        expected = theirs[passage.name]
        before = excess(passage.before, expected.before, tolerance)
        if before:
            return (
                f"First difference: what goes into {passage.name} ({before}), while all up to {agreed} agrees. "
                f"Look at what the backbone computes between the two."
            )
        after = excess(passage.after, expected.after, tolerance)
        # Some modules of transformers scale what they look up, which a backbone does after the kernel.
        if after and not (passage.looks_up and _next_input_agrees(ours[number:], theirs, tolerance)):
            return (
                f"First difference: {passage.name}, whose result differs ({after}) for the same input. "
                f"Look at its weight, its bias, and the fields it is called with."
            )
        agreed = passage.name
    return f"Every module that could be compared agrees; the last was {agreed}. Look at what comes after it."


def _next_input_agrees(ours: list[Passage], theirs: dict[str, Passage], tolerance: float) -> bool:
    """Whether the first of some modules that takes activations takes those of the reference."""
    following = next((passage for passage in ours if not passage.looks_up), None)
    return following is not None and not excess(following.before, theirs[following.name].before, tolerance)


def excess(got: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """By how much two activations differ, in words; empty where they agree or cannot be compared."""
    if got.shape != expected.shape or not np.issubdtype(got.dtype, np.floating):
        return ""
    worst = float(np.abs(got - expected).max(initial=0.0))
    allowed = tolerance * float(np.abs(expected).max(initial=0.0))
    return "" if worst <= allowed else f"off by {worst:.3g}, allowed {allowed:.3g}"


def trace_model(model: TaskModel, inputs: dict[str, np.ndarray]) -> list[Passage]:
    """What our model computes at each kernel that is given a module's weights, in order."""
    from keras import ops

    found: list[Passage] = []
    tensors = model.tensors()
    names = {id(bundle.weight): name for name, bundle in _bundles(tensors)}

    def note(arguments: tuple[Any, ...], result: Any) -> None:
        weights = (id(getattr(argument, "weight", None)) for argument in arguments)
        owners = [names[weight] for weight in weights if weight in names]
        results = result if isinstance(result, tuple) else (result,)  # `kernels.linears` gives one for each weight
        for name, result in zip(owners, results, strict=False):
            before, after = (np.asarray(ops.convert_to_numpy(x)) for x in (arguments[0], result))
            found.append(Passage(name, before, after))

    with _watched_kernels(note), _one_by_one():
        step = model.backbone.step({name: ops.convert_to_tensor(values) for name, values in inputs.items()})
        model.compute(tensors, step)
    return found


def trace_reference(model: TaskModel, reference: Reference, inputs: dict[str, np.ndarray]) -> list[Passage]:
    """What transformers computes at each module that owns weights, in order, under the weight map's names."""
    import torch
    import transformers

    theirs = getattr(transformers, reference.architecture).from_pretrained(reference.checkpoint, dtype="float32")
    found: list[Passage] = []
    prefix = model.weight_map.prefix

    def hook(name: str) -> Any:
        def note(_: Any, given: tuple[Any, ...], result: Any) -> None:
            if given and isinstance(given[0], torch.Tensor) and isinstance(result, torch.Tensor):
                found.append(Passage(name, given[0].numpy(), result.numpy()))

        return note

    for name, module in theirs.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(hook(unprefixed(prefix, name)))
    with torch.no_grad():
        theirs(**{name: torch.tensor(values) for name, values in inputs.items()})
    return found


def _bundles(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Name and bundle of each module in a tree of tensors; the head's stand under their own names."""
    for name, value in tree.items():
        if isinstance(value, list):
            for number, block in enumerate(value):
                yield from _bundles(block, f"{path}{name}.{number}.")
        elif isinstance(value, dict):
            yield from _bundles(value, path if name == "head" else f"{path}{name}.")
        else:
            yield path + name, value


def _one_by_one() -> contextlib.AbstractContextManager[Any]:
    """Compute what `kernels.as_one` would compute as one operation by operation, so that there are values to note."""
    import keras

    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.disable_jit()


@contextlib.contextmanager
def _watched_kernels(note: Any) -> Iterator[None]:
    """Call `note(arguments, result)` after each kernel while the block runs, linears apart from what is around them."""
    from intermodal import kernels

    originals = {name: getattr(kernels, name) for name in kernels.__all__ if name.islower()}

    def watched(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            note(arguments, result)
            return result

        return call

    def normed(x: Any, norm: Any) -> Any:
        if norm is None:
            return x
        return (kernels.offset_rms_norm if norm.offset else kernels.rms_norm)(x, norm.w, norm.epsilon)

    def linear(x: Any, w: Any, *, norm: Any = None, activation: str | None = None, residual: Any = None) -> Any:
        (y,) = kernels.linears(x, w, norm=norm)
        y = y if activation is None else kernels.activation(activation)(y)
        return y if residual is None else residual + y

    def linears(x: Any, *bundles: Any, norm: Any = None) -> Any:
        return watched(originals["linears"])(normed(x, norm), *bundles)

    def gated_linear(x: Any, gate: Any, up: Any, activation: str, *, norm: Any = None) -> Any:
        first, second = kernels.linears(x, gate, up, norm=norm)
        return kernels.activation(activation)(first) * second

    apart = {"linear": linear, "linears": linears, "gated_linear": gated_linear}
    try:
        for name, function in originals.items():
            setattr(kernels, name, apart.get(name) or watched(function))
        yield
    finally:
        for name, function in originals.items():
            setattr(kernels, name, function)
