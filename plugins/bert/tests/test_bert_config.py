"""BERT's config against transformers: its class, its code, and the hidden states that keys do or do not change."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intermodal.errors import ConfigError
from intermodal_bert.config import ACTIVATIONS, BertConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "tie_word_embeddings",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "num_labels",
    "problem_type",
)
CHANGES: list[dict[str, Any]] = [
    {"vocab_size": 77, "pad_token_id": 7},
    {"hidden_size": 60, "num_attention_heads": 5},
    {"num_hidden_layers": 1, "intermediate_size": 7},
    {"hidden_act": "relu"},
    {"max_position_embeddings": 11, "type_vocab_size": 1},
    {"layer_norm_eps": 0.25},
    {"tie_word_embeddings": False},
    {"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": None},
    {"num_labels": 1, "problem_type": "regression"},
    {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}},
]
FOREIGN = {"unsloth_version": "1", "rope_theta": 3.0, "layer_norm_epsilon": 0.5, "attention_bias": False, "n_layer": 9}
# Where transformers itself refuses an odd value, or cannot load a file that holds one; everything else is set to 3.
ODD: dict[str, Any] = {
    "architectures": ["BertModel"],
    "dtype": "float32",
    "torch_dtype": "float32",
    "transformers_version": "4.31.0",
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "experts_implementation": "eager",
    "_experts_implementation": "eager",
    "return_dict": True,
    "output_attentions": False,
    "_output_attentions": False,
    "output_hidden_states": False,
    "use_cache": False,
    "cache_implementation": "sliding_window",
    "compile_config": None,
    "chunk_size_feed_forward": 12,
    "hidden_dropout_prob": 0.9,
    "attention_probs_dropout_prob": 0.9,
    "classifier_dropout": 0.9,
    "initializer_range": 0.9,
    "assistant_ensemble_weight": 0.5,
    "base_model_tp_plan": {"encoder": "rowwise"},
    "base_model_pp_plan": {"norm": [["a"], ["b"]]},
    "base_model_ep_plan": {"layers.*": "a"},
    "base_model_fsdp_plan": {"layers.*": "a"},
    "mtp_layer_types": ["odd"],
    "ignore_keys_at_rope_validation": ["factor"],
}
UNREADABLE = {"sub_configs", "use_return_dict"}


def theirs(raw: dict[str, Any]) -> Any:
    return transformers.BertConfig(**raw)


def assert_same(config: BertConfig, reference: Any) -> None:
    for name in FIELDS:
        expected = getattr(reference, name)
        found = getattr(config, name)
        if name == "hidden_act":
            found, expected = ACTIVATIONS[found], ACTIVATIONS[expected]
        assert found == (tuple(expected) if isinstance(expected, list) else expected), name


def test_an_empty_config_is_transformers_default() -> None:
    assert_same(BertConfig.from_hf({})[0], transformers.BertConfig())


@pytest.mark.parametrize("key", ["vocab_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings"])
def test_each_absent_key_is_transformers_default(key: str, tiny: dict) -> None:
    raw = {name: value for name, value in tiny.items() if name != key}
    assert_same(BertConfig.from_hf(raw)[0], theirs(raw))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(change))
def test_each_field_reads_as_in_transformers_and_is_exported_to_the_same(change: dict[str, Any], tiny: dict) -> None:
    config, _ = BertConfig.from_hf({**tiny, **change})
    reference = theirs({**tiny, **change})
    assert_same(config, reference)
    assert_same(config, theirs(json.loads(json.dumps(config.to_hf()))))


def test_what_transformers_saves_is_all_known(tiny: dict, tmp_path: Path) -> None:
    theirs({**tiny, "num_labels": 3}).save_pretrained(tmp_path)
    config, report = BertConfig.from_hf(json.loads((tmp_path / "config.json").read_text()))
    assert report.foreign == {}
    assert config.num_labels == 3


def test_every_field_and_every_key_that_the_code_reads_is_in_a_table() -> None:
    reference = transformers.BertConfig
    fields = {name for name in reference.__dataclass_fields__ if not name.startswith("__")}
    source = Path(transformers.models.bert.modeling_bert.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r"\bconfig\.(\w+)", source)) | set(re.findall(r'(?:get|has)attr\(config, "(\w+)"', source))
    assert {"hidden_act", "layer_norm_eps", "embedding_size", "is_decoder"} <= read
    assert (fields | read) - BertConfig.known_keys() == set()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_that_are_taken_for_one_are_the_same_function(name: str) -> None:
    functions, x = transformers.activations.ACT2FN, torch.linspace(-9, 9, 1001, dtype=torch.float64)
    torch.testing.assert_close(functions[name](x), functions[ACTIVATIONS[name]](x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(transformers.activations.ACT2FN) - set(ACTIVATIONS)))
def test_every_other_activation_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="hidden_act"):
        BertConfig.from_hf({"hidden_act": name})


def test_inert_and_foreign_keys_do_not_change_hidden_states(tiny: dict) -> None:
    torch.manual_seed(0)
    weights = transformers.BertModel(theirs(tiny)).state_dict()

    def states(raw: dict[str, Any]) -> np.ndarray:
        model = transformers.BertModel(theirs(raw)).eval()
        model.load_state_dict(weights)
        mask = torch.ones(2, 12, dtype=torch.long)
        mask[0, :5] = 0
        with torch.no_grad():
            return model(torch.arange(24).reshape(2, 12), attention_mask=mask).last_hidden_state.numpy()

    expected = states(tiny)
    inert, _ = BertConfig.tables()
    tried = {key: ODD.get(key, 3) for key in inert if key not in UNREADABLE}
    _, report = BertConfig.from_hf({**tiny, **tried, **FOREIGN}, strict=False)
    assert set(report.inert) == set(tried)
    assert set(report.foreign) == set(FOREIGN)
    np.testing.assert_array_equal(states({**tiny, **tried, **FOREIGN}), expected)
    assert np.abs(states({**tiny, "is_decoder": True}) - expected).max() > 1e-3


def test_the_reference_is_the_version_that_was_checked() -> None:
    assert transformers.__version__ == BertConfig.checked_against
