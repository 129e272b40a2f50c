"""BERT's config against transformers: its class, its code, and the hidden states that keys do or do not change."""

import pytest
from intermodal.errors import ConfigError
from intermodal_bert.config import ACTIVATIONS, BertConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_that_are_taken_for_one_are_the_same_function(name: str) -> None:
    functions, x = transformers.activations.ACT2FN, torch.linspace(-9, 9, 1001, dtype=torch.float64)
    torch.testing.assert_close(functions[name](x), functions[ACTIVATIONS[name]](x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(transformers.activations.ACT2FN) - set(ACTIVATIONS)))
def test_every_other_activation_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="hidden_act"):
        BertConfig.from_hf({"hidden_act": name})
