"""Qwen2 models as Keras models, beyond the kit: adapted, quantised, generating beyond the window, chatting."""

import os
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.testing import TINY_DECODER
from intermodal.testing.reference import assert_int8_is_near, make_reference, save_reference
from intermodal.testing.training import assert_lora_learns_and_merges
from keras import ops

pytestmark = pytest.mark.backend

IDS = np.random.default_rng(6).integers(3, 96, (4, 12)).astype("int32")
WINDOWED = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = [{"role": "user", "content": "The lazy dog says: I'll jump, naïve!"}]


@pytest.fixture(scope="module")
def reference():
    return make_reference("Qwen2ForCausalLM", {**TINY_DECODER, "eos_token_id": None, **WINDOWED})


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return save_reference(reference, tmp_path_factory.mktemp("qwen2"))


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_lora_learns_and_is_merged_on_export(folder, tmp_path):
    assert_lora_learns_and_merges(intermodal.load(folder), IDS, ["q_proj", "v_proj"], tmp_path / "merged")


def test_int8_is_near(folder):
    assert_int8_is_near(intermodal.load(folder), IDS)


def test_greedy_ids_beyond_the_window_are_transformers(reference, folder):
    import torch

    model = intermodal.load(folder)
    with torch.no_grad():
        expected = reference.generate(torch.tensor(IDS[:1]).long(), max_new_tokens=24, do_sample=False).numpy()
    got = model.generate({"input_ids": IDS[:1]}, max_new_tokens=24, temperature=0.0)
    np.testing.assert_array_equal(np.asarray(got), expected)


def templates() -> dict[str, str]:
    """ChatML, and the template of Qwen2.5 itself where llama.cpp's source is at hand."""
    path = Path(os.environ.get("INTERMODAL_LLAMA_CPP", ""), "models", "templates", "Qwen-Qwen2.5-7B-Instruct.jinja")
    return {"ChatML": CHATML, **({"Qwen2.5": path.read_text()} if path.is_file() else {})}


@pytest.mark.parametrize("template", templates())
def test_a_chat_is_answered_as_transformers_does(template, tmp_path):
    import torch
    import transformers

    texts = ["The quick brown fox jumps over the lazy dog.", "I'll say it's 1234567!", "naïve café — 日本語"]
    tokenizer = transformers.Qwen2Tokenizer().train_new_from_iterator(texts, 400)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = templates()[template]
    fields = {**TINY_DECODER, **WINDOWED, "vocab_size": len(tokenizer), "eos_token_id": None, "pad_token_id": None}
    reference = make_reference("Qwen2ForCausalLM", fields)
    save_reference(reference, tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompt = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        ids = reference.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    model = intermodal.load(tmp_path)
    assert model.tokenizer is not None
    assert model.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False) == prompt
    assert model.chat(CHAT, max_new_tokens=8, temperature=0.0) == tokenizer.decode(ids, skip_special_tokens=True)
