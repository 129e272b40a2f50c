"""Generation from weights that are stored narrowly: the ids of transformers, which has the same values in float32."""

import intermodal
import keras
import numpy as np
import pytest
from intermodal import compiled
from intermodal.testing.reference import make_reference, save_reference

pytestmark = pytest.mark.backend

CONFIG = {
    "vocab_size": 900,
    "hidden_size": 160,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "eos_token_id": None,
    "pad_token_id": None,
}
NEW = 24


def prompts(*lengths):
    random = np.random.default_rng(4)
    return [random.integers(3, 900, length).tolist() for length in lengths]


def continued(folder, prompt):
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    return model.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()


@pytest.mark.parametrize("lengths", [(9,), (5, 70, 21)], ids=["one", "mixed"])
@pytest.mark.parametrize("stored", ["bfloat16", "int8", "int4"])
def test_greedy_ids_are_those_of_the_same_values_widened(tmp_path, stored, lengths):
    assert compiled.for_cpu(keras.backend.backend()) is not None
    given, values = tmp_path / "given", tmp_path / "values"
    save_reference(make_reference("LlamaForCausalLM", CONFIG, seed=2), given, dtype="bfloat16")
    model = intermodal.load(given, dtype="bfloat16" if stored == "bfloat16" else "float32")
    if stored != "bfloat16":
        model.quantize(stored)
    model.save_pretrained(values)
    rows = prompts(*lengths)
    longest = max(lengths)
    ids = np.array([[0] * (longest - len(row)) + row for row in rows])
    mask = np.array([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    got = model.generate({"input_ids": ids, "attention_mask": mask}, max_new_tokens=NEW, do_sample=False)
    expected = [continued(values, row) for row in rows]
    assert np.asarray(got)[:, longest:].tolist() == expected
    assert len({tuple(row) for row in expected}) == len(rows)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's threads")
def test_pytorch_has_its_threads_again_after_generation(tmp_path):
    import torch

    save_reference(make_reference("LlamaForCausalLM", CONFIG, seed=2), tmp_path)
    model, threads = intermodal.load(tmp_path), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        model.generate({"input_ids": np.array([prompts(40)[0]])}, max_new_tokens=3, do_sample=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
