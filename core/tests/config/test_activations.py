"""Names of activations: those that are taken for one are one, the kernel computes it, and all others are refused."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from intermodal.api import ModelConfig, fields, kernels
from intermodal.errors import ConfigError
from keras import ops

torch = pytest.importorskip("torch")
FUNCTIONS = pytest.importorskip("transformers").activations.ACT2FN


@dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    model_types: ClassVar[tuple[str, ...]] = ("lone",)
    hidden_act: str = fields.activation("gelu")


@pytest.mark.backend
@pytest.mark.parametrize("name", fields.ACTIVATIONS)
def test_activations_are_transformers(name):
    x = np.linspace(-9, 9, 1001)
    expected = FUNCTIONS[name](torch.tensor(x)).numpy()
    same = FUNCTIONS[fields.ACTIVATIONS[name]](torch.tensor(x)).numpy()
    np.testing.assert_allclose(same, expected, rtol=0, atol=1e-9)
    kernel = kernels.activation(Config.from_hf({"hidden_act": name})[0].hidden_act)
    got = ops.convert_to_numpy(kernel(ops.convert_to_tensor(x.astype("float32"))))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - set(fields.ACTIVATIONS)))
def test_every_other_activation_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"hidden_act = '{name}'"):
        Config.from_hf({"hidden_act": name})
