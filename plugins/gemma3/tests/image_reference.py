"""A small Gemma 3 with images as transformers makes it: model, tokenizer and processor in one folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from intermodal.testing.reference import make_reference, save_reference

FULL, SLIDING = "full_attention", "sliding_attention"
PLACEHOLDER = "<start_of_image>"
BOI, EOI, IMAGE = 36, 37, 38
TINY: dict[str, Any] = {
    "text_config": {
        "vocab_size": 39,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "max_position_embeddings": 256,
        "sliding_window": 5,
        "layer_types": [SLIDING, FULL],
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    },
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 24,
        "patch_size": 4,
        "vision_use_head": False,
    },
    "mm_tokens_per_image": 9,
    "boi_token_index": BOI,
    "eoi_token_index": EOI,
    "image_token_index": IMAGE,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<start_of_image>{% else %}{{ item['text'] | trim }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}{% if add_generation_prompt %}model\n{% endif %}"
)


def fields(**changes: Any) -> dict[str, Any]:
    """The config's fields with changes; those of a part are given as a dict."""
    merged = copy.deepcopy(TINY)
    for key, value in changes.items():
        merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    return merged


def make(architecture: str = "Gemma3ForConditionalGeneration", **changes: Any) -> Any:
    """The model, with random weights, norms and biases."""
    return make_reference(architecture, fields(**changes))


def processor(**options: Any) -> Any:
    """transformers' Gemma3Processor with a tokenizer of single letters."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    vocabulary = {name: index for index, name in enumerate(("<pad>", "<eos>", "<bos>", "<unk>"))}
    for letter in "abcdefghijklmnopqrstuvwxyz▁\n.HIO":
        vocabulary[letter] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Replace("▁", " ")
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "boi_token": PLACEHOLDER,
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        padding_side="left",
    )
    return transformers.Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 24, "width": 24}, **options),
        tokenizer,
        image_seq_length=9,
        chat_template=TEMPLATE,
    )


def save(folder: Path, reference: Any, **options: Any) -> Path:
    """Model and processor in one folder; `options` are the image processor's."""
    save_reference(reference, folder)
    processor(**options).save_pretrained(folder)
    return folder
