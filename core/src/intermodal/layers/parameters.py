"""A Keras layer that owns variables as a weight map declares them, and hands them to kernels in bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import keras

from intermodal import kernels
from intermodal.dtypes import is_float
from intermodal.kernels import Bundle
from intermodal.layers.storage import StoragePolicy
from intermodal.weights.map import Variable
from intermodal.weights.packing import Packing

Tree = dict[str, Any]
"""Bundles by module name; a repeated block's under its stem as a list: `tree["layers"][0]["self_attn.q_proj"]`."""


class Supply(Protocol):
    """Gives each variable its value as it is created, so that nothing is initialised first."""

    def dtype(self, variable: Variable) -> str:
        """Dtype the variable is stored in, where it is not packed."""
        ...

    def packing(self, variable: Variable) -> Packing | None:
        """How a matrix is packed, None where it is stored as it is."""
        ...

    def value(self, variable: Variable, field: str = "weight") -> Any:
        """Its value, or of a packed one the array for `field`: a tensor of the running backend, as it is stored."""
        ...


class Parameters(keras.layers.Layer):
    """Owns variables. One Keras layer holds a whole backbone's: a layer costs a millisecond, a variable a tenth.

    Args:
        variables: what to create, in order.
        supply: where the values come from.
        policy: how they are stored and computed in.

    Attributes:
        declared: the variables, as the weight map has them.
        by_name: Keras' variables by name, those that belong to a weight as `<weight>.scale`, `<weight>.lora_a`, ….
        packings: how packed weights are held, by name; their variables have other shapes than declared.
    """

    def __init__(self, variables: Iterable[Variable], supply: Supply, policy: StoragePolicy, **options: Any) -> None:
        super().__init__(dtype=policy, **options)
        self.declared = tuple(variables)
        self.by_name: dict[str, Any] = {}
        self.packings: dict[str, Packing] = {}
        for variable in self.declared:
            packing = supply.packing(variable)
            if packing is None:
                dtype = supply.dtype(variable)
                trainable = is_float(dtype) and not variable.frozen
                self._add(variable.name, variable.shape, dtype, lambda v=variable: supply.value(v), trainable=trainable)
                continue
            self.packings[variable.name] = packing
            for field, (shape, dtype) in packing.parts(variable.shape).items():
                name = field_name(variable.name, field)
                self._add(name, shape, dtype, lambda v=variable, f=field: supply.value(v, f), trainable=False)
        self.built = True

    def tensors(self) -> Tree:
        """The variables' present values, in bundles. Cheap; inside a traced function it gives what is traced."""
        tree: Tree = {}
        for variable in self.declared:
            module, field = module_of(variable.name)
            home = tree
            if variable.block is not None:
                stem, number = variable.block
                blocks = tree.setdefault(stem, [])
                while len(blocks) <= number:
                    blocks.append({})
                home, module = blocks[number], module.removeprefix(f"{stem}.{number}.")
            home[module] = home.get(module, Bundle(None))._replace(**{field: self.by_name[variable.name].value})
            if field == "weight":
                bundle = home[module]._replace(**self.extras(variable))
                home[module] = bundle._replace(prepared=kernels.prepare(bundle.weight, bundle.scale, bundle.minimum))
        return tree

    def extras(self, variable: Variable) -> dict[str, Any]:
        """Scale, minimum and adapter tensors that belong to a weight."""
        return {
            field: self.by_name[f"{variable.name}.{field}"].value
            for field in ("scale", "minimum", "lora_a", "lora_b", "lora_scale")
            if f"{variable.name}.{field}" in self.by_name
        }

    def replace_variable(self, name: str, value: Any, dtype: str, *, trainable: bool) -> None:
        """Put a variable of another dtype in the place of `name`, or add it; the old one's memory is freed."""
        self._tracker.unlock()
        old = self.by_name.pop(name, None)
        if old is not None:
            self._untrack_variable(old)
        self._add(name, tuple(value.shape), dtype, lambda: value, trainable=trainable)
        self._tracker.lock()

    def _add(self, name: str, shape: tuple[int, ...], dtype: str, value: Callable[[], Any], *, trainable: bool) -> None:
        self.by_name[name] = self.add_weight(
            name=keras_name(name),
            shape=shape,
            dtype=dtype,
            initializer=lambda shape, dtype=None: value(),
            trainable=trainable,
            autocast=False,  # kernels see what is stored and decide what it is computed in
        )

    def remove_variable(self, name: str) -> None:
        """Take away a variable that was added."""
        self._tracker.unlock()
        self._untrack_variable(self.by_name.pop(name))
        self._tracker.lock()

    def save_own_variables(self, store: Any) -> None:
        """Write the variables to a `.keras` file by name, so that the order of creation does not matter."""
        for name, variable in self.by_name.items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        """Read the variables of a `.keras` file by name."""
        if set(store.keys()) != set(self.by_name):
            differing = sorted(set(store.keys()) ^ set(self.by_name))[:8]
            raise ValueError(f"the saved variables are not those of layer {self.name}: {', '.join(differing)}")
        for name, variable in self.by_name.items():
            variable.assign(store[name])


def field_name(name: str, field: str) -> str:
    """The name of what belongs to a weight: `"q_proj.weight.scale"`; the weight's own is its name."""
    return name if field == "weight" else f"{name}.{field}"


def keras_name(name: str) -> str:
    """A weight's name as Keras can carry it: PyTorch refuses a parameter with a dot in its name."""
    return name.replace(".", "-")


def module_of(name: str) -> tuple[str, str]:
    """Split a weight's name into its module and the field of the bundle: `("norm", "weight")`."""
    module, _, field = name.rpartition(".")
    return (module, field) if field in ("weight", "bias") else (name, "weight")


def only(head: Tree) -> Bundle:
    """The one linear that many heads consist of, whatever the family calls it."""
    (bundle,) = head.values()
    return bundle
