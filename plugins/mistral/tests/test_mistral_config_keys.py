"""Every key that transformers could read of a Mistral's config is in a table, and those let through change nothing."""

import ast
import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intermodal.errors import ConfigError
from intermodal_mistral.config import MistralConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "eos_token_id": [2, 3],
}


def read(raw: dict[str, Any], **options: Any) -> MistralConfig:
    return MistralConfig.from_hf(raw, **options)[0]


def theirs(raw: dict[str, Any]) -> Any:
    return transformers.MistralConfig(**copy.deepcopy(raw))


def names_of(reference: Any) -> set[str]:
    """What a config class could read from a file: fields, annotations, attributes and properties, bases included."""
    found = set(vars(reference())) | set(reference().to_dict())
    for base in reference.__mro__[:-1]:
        found |= set(getattr(base, "__annotations__", {}))
        for name, value in vars(base).items():
            if not callable(value) and not isinstance(value, classmethod | staticmethod):
                found.add(name)
    return {name for name in found if not (name.startswith("__") or name.startswith("_abc_"))}


def test_every_field_of_transformers_config_is_in_a_table() -> None:
    # Bookkeeping of the class itself: transformers overwrites or drops them whatever a file says.
    own = {"_post_init_done", "_heterogeneity_spec", "_repo_created"}
    for reference in (transformers.MistralConfig, transformers.MinistralConfig):
        assert names_of(reference) - MistralConfig.known_keys() - own == set()


def test_every_generation_setting_is_in_a_table() -> None:
    # A config.json without generation_config.json beside it may hold any of them.
    assert set(vars(transformers.GenerationConfig())) - MistralConfig.known_keys() - {"_original_object_hash"} == set()


def keys_read(module: str) -> Iterator[str]:
    """Names that a module reads of a config: `config.name`, `getattr(config, "name")`, `hasattr(config, "name")`."""
    source = importlib.import_module(f"transformers.{module}").__file__
    for node in ast.walk(ast.parse(Path(source or "").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and _is_config(node.value):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            target, name = node.args[:2]
            if _is_config(target) and isinstance(name, ast.Constant):
                yield str(name.value)


def _is_config(node: ast.AST) -> bool:
    configs = ("config", "text_config", "decoder_config", "effective_config", "layer_config")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "get_text_config"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in configs


@pytest.mark.parametrize(
    "module",
    [
        "models.mistral.modeling_mistral",
        "models.ministral.modeling_ministral",
        "modeling_layers",
        "modeling_rope_utils",
        "modeling_utils",
        "masking_utils",
        "cache_utils",
        "generation.utils",
        "integrations.sdpa_attention",
        "integrations.heterogeneity.configuration_utils",
        "loss.loss_utils",
    ],
)
def test_every_key_that_the_reference_reads_is_in_a_table(module: str) -> None:
    methods = {name for name in dir(transformers.MistralConfig) if callable(getattr(transformers.MistralConfig, name))}
    private = {"_heterogeneity_spec", "__dict__", "__class__", "items", "setter"}
    assert set(keys_read(module)) - MistralConfig.known_keys() - methods - private == set()


def test_the_walk_over_the_references_code_finds_what_it_should() -> None:
    assert {"is_causal", "sliding_window", "layer_types"} <= set(keys_read("masking_utils"))
    assert {"hidden_act", "rms_norm_eps", "sliding_window"} <= set(keys_read("models.mistral.modeling_mistral"))
    assert {"layer_types", "sliding_window"} <= set(keys_read("models.ministral.modeling_ministral"))


# --- keys that are let through cannot change the model ----------------------------------------------------------------

# Where transformers itself refuses an odd value; everything else is set to 3.
ODD: dict[str, Any] = {
    "architectures": ["MistralForSequenceClassification"],
    "dtype": "float16",
    "torch_dtype": "float16",
    "transformers_version": "4.31.0",
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "experts_implementation": "eager",
    "_experts_implementation": "eager",
    "return_dict": True,
    "output_attentions": False,
    "_output_attentions": False,
    "output_hidden_states": True,
    "use_cache": True,
    "cache_implementation": "sliding_window",
    "compile_config": None,
    "initializer_range": 0.9,
    "assistant_ensemble_weight": 0.5,
    "base_model_tp_plan": {"layers.*.self_attn.q_proj": "rowwise"},
    "base_model_pp_plan": {"norm": [["a"], ["b"]]},
    "base_model_ep_plan": {"layers.*": "a"},
    "base_model_fsdp_plan": {"layers.*": "a"},
    "mtp_layer_types": ["odd"],
    "ignore_keys_at_rope_validation": ["factor"],
}
# Properties without a setter, and a setting whose odd values transformers refuses: it cannot load a file with one.
UNREADABLE = {"sub_configs", "use_return_dict", "watermarking_config"}
FOREIGN: dict[str, Any] = {
    "unsloth_version": "2024.9",
    "rope_interleaved": True,
    "is_llama_config": False,
    "use_sliding_window": True,
    "max_window_layers": 0,
    "logit_scale": 7.0,
    "embedding_multiplier": 5.0,
    "attention_multiplier": 0.1,
    "final_logit_softcapping": 2.0,
    "query_pre_attn_scalar": 3,
    "qkv_bias": True,
    "rope_local_base_freq": 3.0,
    "no_rope_layers": [0],
    "layer_norm_eps": 0.5,
    "norm_eps": 0.5,
    "activation_function": "relu",
    "n_layer": 9,
    "num_experts": 4,
    "vision_config": {"hidden_size": 3},
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    torch.manual_seed(0)
    return transformers.MistralForCausalLM(theirs(TINY)).state_dict()


def logits(raw: dict[str, Any], weights: dict[str, Any]) -> np.ndarray:
    """Logits of the tokens of a padded prompt and of two cached steps after it."""
    model = transformers.MistralForCausalLM(theirs(raw)).eval()
    model.load_state_dict(weights)
    ids = torch.arange(24).reshape(2, 12) % 61
    mask = torch.ones(2, 14, dtype=torch.long)
    mask[0, :5] = 0
    with torch.no_grad():
        out = model(ids, attention_mask=mask[:, :12])
        found = [out.logits]
        for step in (1, 2):
            token = torch.full((2, 1), 7 * step)
            out = model(token, attention_mask=mask[:, : 12 + step], past_key_values=out.past_key_values, use_cache=True)
            found.append(out.logits)
    return torch.cat(found, 1)[mask.bool()].numpy()


def test_inert_and_foreign_keys_do_not_change_logits(weights: dict[str, Any]) -> None:
    expected = logits(TINY, weights)
    inert, _ = MistralConfig.tables()
    tried = {key: ODD.get(key, 3) for key in inert if key not in UNREADABLE}
    _, report = MistralConfig.from_hf(TINY | tried | FOREIGN, strict=False)
    assert set(report.inert) == set(tried)
    assert set(report.foreign) == set(FOREIGN)
    np.testing.assert_array_equal(logits(TINY | tried | FOREIGN, weights), expected)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_the_attention_implementation_changes_rounding_alone(key: str, weights: dict[str, Any]) -> None:
    np.testing.assert_allclose(logits(TINY | {key: "eager"}, weights), logits(TINY, weights), atol=2e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_causal", False),
        ("is_causal", None),
        ("rms_norm_eps", 0.1),
        ("rope_theta", 3.0),
    ],
)
def test_the_comparison_of_logits_sees_keys_that_matter(key: str, value: Any, weights: dict[str, Any]) -> None:
    assert np.abs(logits(TINY | {key: value}, weights) - logits(TINY, weights)).max() > 1e-3
    if key not in ("rms_norm_eps", "rope_theta"):
        with pytest.raises(ConfigError, match=f"{key} = "):
            read(TINY | {key: value}, strict=False)
