"""Dense modules of sentence-transformers: linears behind the pooling, each kept in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.strict_json import read_object
from intermodal.errors import ConfigError
from intermodal.weights.map import Weight, head, linear

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

ACTIVATIONS: Mapping[str, str] = {
    "Identity": "torch.nn.modules.linear.Identity",
    "Tanh": "torch.nn.modules.activation.Tanh",
    "ReLU": "torch.nn.modules.activation.ReLU",
    "GELU": "torch.nn.modules.activation.GELU",
    "SiLU": "torch.nn.modules.activation.SiLU",
    "Sigmoid": "torch.nn.modules.activation.Sigmoid",
}
"""Activations by the name of their class, and the path of it that is written."""

MOST_FEATURES = 1 << 20
_KEYS = {"in_features", "out_features", "bias", "activation_function"}
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "module_input_name": (None, "sentence_embedding"),
    "module_output_name": (None, "sentence_embedding"),
    "use_residual": (False,),
}


@dataclass(frozen=True)
class Dense:
    """A linear and what follows it.

    Attributes:
        in_features, out_features: widths of the vectors that go in and come out.
        bias: whether the linear has one.
        activation: one of `ACTIVATIONS`.
    """

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Tanh"

    @classmethod
    def read(cls, repository: Repository, folder: str) -> Dense:
        """What a module's config.json says.

        Raises:
            ConfigError: it is malformed, or asks for what is not done here; names file and key.
        """
        name = f"{folder}/config.json"
        values = read_object(repository, name, ConfigError)
        where = f"{name} of {repository.uri}"
        for key, value in values.items():
            if key not in _KEYS and not (key in _HARMLESS and value in _HARMLESS[key]):
                raise ConfigError(f"{where}: {key} = {str(value)[:100]} is not supported, and may change the vectors.")
        for key in ("in_features", "out_features"):
            value = values.get(key)
            if type(value) is not int or not 0 < value <= MOST_FEATURES:
                raise ConfigError(f"{where}: {key} is {str(value)[:100]}, expected an integer of 1 to {MOST_FEATURES}.")
        bias = values.get("bias", True)
        if not isinstance(bias, bool):
            raise ConfigError(f"{where}: bias is {str(bias)[:100]}, expected true or false.")
        path = values.get("activation_function", ACTIVATIONS["Tanh"])
        package, _, activation = str(path).rpartition(".")
        if activation not in ACTIVATIONS or not f"{package}.".startswith("torch.nn."):
            raise ConfigError(
                f"{where}: activation_function is {str(path)[:100]}, expected one of torch.nn's "
                f"{', '.join(ACTIVATIONS)}."
            )
        return cls(values["in_features"], values["out_features"], bias, activation)

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return asdict(self)

    def to_json(self) -> dict[str, Any]:
        """The module's config.json."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "activation_function": ACTIVATIONS[self.activation],
        }

    def weights(self, folder: str, gguf: str) -> list[Weight]:
        """Its weights, `folder.linear.weight` and `folder.linear.bias`.

        Args:
            folder: where they are written.
            gguf: what the linear is called in GGUF files. Where such a file lacks it, the folder is read.
        """
        weights = head(linear(f"{folder}.linear", self.in_features, self.out_features, bias=self.bias, gguf=gguf))
        return [replace(weight, folder=folder, legacy=(weight.name,)) for weight in weights]
