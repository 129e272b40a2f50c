"""llama.cpp's own vocabularies: the ids it expects, and what it tokenises in ways that are refused here."""

import pytest
from intermodal.errors import TokenizerError

# Those with expected ids. What its converter took them from are the original tokenizers of transformers.
EXPECTED = (
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
)
SEPARATOR = "\n__ggml_vocab_test__\n"
REFUSED = {
    "aquila": r"tokenizer\.ggml\.pre.* is missing",
    "gpt-neox": r"tokenizer\.ggml\.pre.* is missing",
    "nomic-bert-moe": "kind 't5'",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_ids_are_those_expected(llama_cpp_models, open_gguf, name):
    path = llama_cpp_models / f"ggml-vocab-{name}.gguf"
    backend = open_gguf(path).tokenizer_parts().backend
    if name == "qwen35":
        # Made by llama.cpp, which never composes characters, from Qwen2's vocabulary; the original tokenizer does.
        assert type(backend.normalizer).__name__ == "NFC"
        backend.normalizer = None
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().removesuffix(SEPARATOR).split(SEPARATOR)
    lines = path.with_suffix(".gguf.out").read_text().splitlines()
    expected = [[int(number) for number in line.split()] for line in lines]
    assert len(texts) == len(expected) > 40
    for text, ids in zip(texts, expected, strict=True):
        assert backend.encode(text, add_special_tokens=False).ids == ids, text


def test_a_vocabulary_without_expected_ids_is_built(llama_cpp_models, open_gguf):
    parts = open_gguf(llama_cpp_models / "ggml-vocab-baichuan.gguf").tokenizer_parts()
    text = "零一万物 and 3.14 🦙"
    assert parts.backend.decode(parts.backend.encode(text, add_special_tokens=False).ids) == text


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_a_guess_is_refused(llama_cpp_models, open_gguf, name):
    checkpoint = open_gguf(llama_cpp_models / f"ggml-vocab-{name}.gguf")
    with pytest.raises(TokenizerError, match=REFUSED[name]):
        checkpoint.tokenizer_parts()


def test_special_tokens_and_templates_are_found(llama_cpp_models, open_gguf):
    parts = open_gguf(llama_cpp_models / "ggml-vocab-command-r.gguf").tokenizer_parts()
    assert set(parts.chat_templates) == {"default", "tool_use", "rag"}
    assert parts.special_tokens["eos_token"] == "<|END_OF_TURN_TOKEN|>"
    assert parts.config["model_max_length"] == 131072
    ids = parts.backend.encode("<|START_OF_TURN_TOKEN|>hi").ids
    assert ids[:2] == [parts.backend.token_to_id("<BOS_TOKEN>"), parts.backend.token_to_id("<|START_OF_TURN_TOKEN|>")]
