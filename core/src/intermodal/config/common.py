"""Keys that every model's config.json may carry, and why they do or do not matter. Tables only.

Checked against transformers 5.23.0 and 4.57.1: `PretrainedConfig`, `GenerationConfig`, and whatever the mask, cache,
rotary, head and loading code reads of a config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intermodal.config.accounting import Rule, one_of


def keys_by_reason(groups: Mapping[str, str]) -> dict[str, str]:
    """A table of keys from groups: reason -> its keys, apart by spaces."""
    return {key: reason for reason, keys in groups.items() for key in keys.split()}


COMMON_INERT: dict[str, str] = keys_by_reason(
    {
        "it names the checkpoint": "_name_or_path name_or_path _commit_hash",
        "it says who wrote the file, which decides whether unknown keys are trusted": "transformers_version",
        "it names code of the repository's own, which is not run": "auto_map _auto_class",
        "the dtype is read from the tensors": "dtype torch_dtype use_bfloat16 _pre_quantization_dtype",
        "it chooses what is returned besides the result": (
            "output_hidden_states output_attentions _output_attentions output_scores output_logits return_dict"
            " use_return_dict return_dict_in_generate tie_last_hidden_states keys_to_ignore_at_inference"
        ),
        "the caller chooses whether and how to cache": "use_cache cache_implementation cache_config max_cache_len",
        "it sets how new weights are initialised": "initializer_range initializer_factor init_std",
        "it acts in training only": (
            "attention_dropout hidden_dropout classifier_dropout dropout resid_pdrop embd_pdrop attn_pdrop"
            " hidden_dropout_prob attention_probs_dropout_prob gradient_checkpointing _gradient_checkpointing"
        ),
        "it chooses how the same numbers are computed": (
            "attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset"
            " experts_implementation _experts_implementation _experts_implementation_internal fusion_config"
            " chunk_size_feed_forward torchscript compile_config disable_compile low_memory prefill_chunk_size"
        ),
        "it places the weights on devices": (
            "base_model_tp_plan base_model_pp_plan base_model_ep_plan base_model_fsdp_plan distributed_config"
            " device_map"
        ),
        "the tokenizer's own files decide": (
            "tokenizer_class prefix sep_token_id cls_token_id mask_token_id unk_token_id"
        ),
        "it concerns models with an encoder and a decoder": (
            "decoder_start_token_id cross_attention_hidden_size tie_encoder_decoder"
        ),
        "it notes what the checkpoint was tuned for": "finetuning_task task_specific_params transformers.js_config",
        "it belongs to multi-token prediction, which is not part of the model's result": (
            "num_mtp_layers mtp_hidden_states_first chain_hidden_post_norm logits_mup_width_multiplier"
            " unpadded_vocab_size mtp_layer_types mtp_mlp_layer_types mtp_per_layer_config use_mtp"
        ),
        "transformers keeps it on the class and does not read it from a file": (
            "base_config_key sub_configs sub_configs_defaults extra_files extra_config_files default_theta"
            " ignore_keys_at_rope_validation"
        ),
        "it counts states of layers that are not attention": "number_of_conv_states",
        # They steer generation, not the model: `generation.settings` accounts for them, value by value.
        "a generation setting: it counts where generation_config.json is absent": (
            "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature"
            " top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size"
            " encoder_no_repeat_ngram_size bad_words_ids num_return_sequences forced_bos_token_id forced_eos_token_id"
            " remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens"
            " epsilon_cutoff eta_cutoff encoder_repetition_penalty num_assistant_tokens num_assistant_tokens_schedule"
            " assistant_confidence_threshold assistant_lookbehind target_lookbehind"
            " max_new_tokens min_new_tokens max_time stop_strings min_p top_h penalty_alpha dola_layers guidance_scale"
            " sequence_bias token_healing renormalize_logits constraints force_words_ids watermarking_config"
        ),
        "it steers assisted generation, which gives the same text": (
            "is_assistant assistant_early_exit assistant_ensemble_weight max_matching_ngram_size"
            " prompt_lookup_num_tokens speculation_type continuous_batching_config"
        ),
        "transformers notes there where a generation config came from": "_from_model_config",
    }
)


def _all(*kinds: str) -> Callable[[Any], bool]:
    """Whether a value is null or a list of nothing but these."""
    return lambda value: value is None or (isinstance(value, list) and all(item in kinds for item in value))


_NULL = one_of(None)
_UNSET = one_of(None, False, 0, "", [], {})
_REQUANTIZE = (
    "Take the unquantised original; or, where the method has it, load with dequantize=True in transformers and save"
)
_COMPOSITE = Rule(
    _NULL,
    "the model is made of parts, and this is the config of one of them",
    "Name the family that reads composite models with family=",
)
_PER_LAYER = Rule(
    _UNSET, "it makes layers differ from each other", "Only checkpoints whose layers are all alike are supported"
)

COMMON_RULES: dict[str, Rule] = {
    "quantization_config": Rule(_NULL, "the weights are stored quantised, in a format not read here", _REQUANTIZE),
    "quantization": Rule(_NULL, "the weights are stored quantised by MLX", "Take the repository it was made from"),
    "compression_config": Rule(_NULL, "the weights are stored compressed, in a format not read here", _REQUANTIZE),
    "_is_quantized": Rule(_UNSET, "the weights are stored quantised", _REQUANTIZE),
    "transformers_weights": Rule(
        _NULL, "the weights are in a file of another name", "Rename that file to model.safetensors and drop the key"
    ),
    # transformers reads `not getattr(config, "is_causal", True)`, so null also turns causality off.
    "is_causal": Rule(
        one_of(True), "every token then sees the ones after it", "Use a family that has bidirectional attention"
    ),
    "is_encoder_decoder": Rule(
        one_of(None, False), "an encoder feeds the decoder", "Encoder-decoder models are not supported"
    ),
    "is_decoder": Rule(
        one_of(None, False), "attention then looks back only", "Use a checkpoint of the encoder, without this key"
    ),
    "add_cross_attention": Rule(
        one_of(None, False), "each layer then attends to an encoder too", "Encoder-decoder models are not supported"
    ),
    "pruned_heads": Rule(
        _UNSET, "these attention heads were removed", "Set their weights to zero and drop the key, then load"
    ),
    "sliding_window": Rule(
        _NULL, "a token then sees only so many before it", "Name a family that has windows with family="
    ),
    "attention_chunk_size": Rule(
        _NULL, "a token then sees only its own chunk", "Chunked attention is not supported by this family"
    ),
    "layer_types": Rule(
        _all("full_attention", "attention"),
        "only full attention in every layer is supported by this family",
        "Name a family that mixes layer types with family=",
    ),
    "mlp_layer_types": Rule(
        _all("dense"),
        "only dense layers are supported by this family",
        "Name a family that has mixtures of experts with family=",
    ),
    "kv_sharing_modes": _PER_LAYER,
    "per_layer_config": _PER_LAYER,
    "skip": _PER_LAYER,
    "is_heterogeneous": _PER_LAYER,
    "per_layer_attributes": _PER_LAYER,
    "allow_global_per_layer_attribute_access": _PER_LAYER,
    "serialize_explicit_per_layer_config": _PER_LAYER,
    "text_config": _COMPOSITE,
    "text_encoder": _COMPOSITE,
    "decoder": _COMPOSITE,
    "encoder": _COMPOSITE,
    "generator": _COMPOSITE,
    "token_classification_bias": Rule(
        one_of(True), "the token classification head then has no bias", "Drop the key and add a bias of zeros"
    ),
    "attribute_map": Rule(_UNSET, "it gives other keys another meaning", "Rename those keys and drop this one"),
    "default_rope_type": Rule(
        one_of(None, "default"), "it changes the rotary embedding", "Write the kind as rope_parameters.rope_type"
    ),
    "qk_head_dim": Rule(_NULL, "queries and values then differ in width", "Such attention is not supported"),
}
