"""What a tokenizer consists of beside its model: roles, stops, added tokens, templates; and what is refused."""

import pytest
from gguf import TokenType
from intermodal.errors import TokenizerError
from intermodal_gguf.tokenizer import build_tokenizer

NONE = 0xFFFFFFFF


def metadata(**changes):
    """A tiny byte-level vocabulary as `Checkpoint.metadata` has it; None removes a key, dots are written as __."""
    tokens = ["a", "b", "c", "ab", "Ġ", "<s>", "</s>", "<think>", "<|eot|>", "[PAD9]"]
    types = (
        [TokenType.NORMAL] * 5 + [TokenType.CONTROL] * 2 + [TokenType.USER_DEFINED, TokenType.CONTROL, TokenType.UNUSED]
    )
    values = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [int(kind) for kind in types],
        "merges": ["a b"],
        "bos_token_id": 5,
        "eos_token_id": 6,
        **changes,
    }
    keys = {f"tokenizer.ggml.{name}": value for name, value in values.items() if value is not None}
    return keys | {"llama.context_length": 128}


def build(**changes):
    return build_tokenizer(metadata(**changes), "llama", "model.gguf")


def test_control_tokens_are_special_and_user_defined_ones_are_text():
    backend = build().backend
    assert backend.encode("ab<think>c</s>").ids == [3, 7, 2, 6]
    assert backend.decode([3, 7, 2, 6], skip_special_tokens=True) == "ab<think>c"
    assert backend.decode([3, 7, 2, 6], skip_special_tokens=False) == "ab<think>c</s>"
    assert backend.get_vocab_size() == 10


@pytest.mark.parametrize(
    ("flags", "ids"),
    [
        ({}, [3]),
        ({"add_bos_token": True}, [5, 3]),
        ({"add_eos_token": True}, [3, 6]),
        ({"add_bos_token": True, "add_eos_token": True}, [5, 3, 6]),
    ],
)
def test_bos_and_eos_are_put_where_the_file_says(flags, ids):
    parts = build(**flags)
    assert parts.backend.encode("ab").ids == ids
    assert parts.backend.encode("ab", add_special_tokens=False).ids == [3]
    for name in ("add_bos_token", "add_eos_token"):
        assert parts.config[name] == flags.get(name, False)


def test_a_bos_that_is_also_eos_is_put_once_at_each_end():
    parts = build(eos_token_id=5, add_bos_token=True, add_eos_token=True)
    assert parts.backend.encode("c").ids == [5, 2, 5]
    assert parts.backend.encode("c", "ab").ids == [5, 2, 5, 5, 3, 5]


def test_roles_and_ends_of_turn():
    parts = build(padding_token_id=NONE, eot_token_id=8, eom_token_id=8, unknown_token_id=-1)
    assert parts.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    assert parts.stop_ids == (8,)
    assert parts.config["model_max_length"] == 128
    assert parts.origin == "model.gguf"


def test_an_id_that_no_token_has_is_reported_and_left_out():
    with pytest.warns(UserWarning, match=r"padding_token_id is 10, and no token has this id"):
        parts = build(padding_token_id=10)
    assert "pad_token" not in parts.special_tokens


def test_a_role_never_turns_ordinary_text_into_a_special_token():
    parts = build(bos_token_id=0, add_bos_token=True)
    assert parts.backend.encode("ab").ids == [0, 3]
    marked = build(token_type=[1] * 10)
    assert marked.backend.encode("a<s>").ids == [0, 5], "converters have left <s> at the normal type"


def test_chat_templates_are_found_by_name():
    named = metadata() | {
        "tokenizer.chat_template": "plain",
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_templates": ["tool_use"],
    }
    assert build_tokenizer(named, "llama", "x").chat_templates == {"default": "plain", "tool_use": "tools"}
    assert build().chat_templates == {}


@pytest.mark.parametrize("model", [None, "none", "no_vocab"])
def test_a_file_without_tokenizer_gives_none(model):
    assert build(model=model) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "t5"}, "kind 't5'"),
        ({"model": "rwkv"}, "kind 'rwkv'"),
        ({"model": 3}, "kind 3"),
        ({"pre": "never-heard-of"}, "pre-tokenizer 'never-heard-of' is not known"),
        ({"pre": None}, "tokenizer.ggml.pre, .* is missing"),
        ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokens": []}, "missing or empty"),
        ({"tokens": ["a", 1]}, "not a list of the kind expected"),
        ({"tokens": ["a", "b", "a"], "token_type": None}, "'a' is in tokenizer.ggml.tokens twice"),
        ({"token_type": [1, 1]}, "10 tokens and 2 token types"),
        ({"merges": None}, "tokenizer.ggml.merges is missing"),
        ({"merges": ["ab"]}, "not two pieces"),
        ({"merges": ["a z"]}, "contradict each other"),
        ({"add_bos_token": 1}, "expected true or false"),
        ({"bos_token_id": None, "add_bos_token": True}, "a bos token is to be put around"),
        ({"model": "llama"}, "0 scores for 10 tokens"),
        ({"model": "llama", "scores": [0.0]}, "1 scores for 10 tokens"),
        ({"model": "llama", "scores": [0.0] * 10, "remove_extra_whitespaces": True}, "removes extra white space"),
        ({"model": "bert"}, "no unknown token"),
    ],
)
def test_what_cannot_be_built_rightly_is_refused(changes, message):
    with pytest.raises(TokenizerError, match=message) as caught:
        build(**changes)
    assert "model.gguf" in str(caught.value)


def test_empty_tokens_get_llama_cpp_s_name():
    parts = build(tokens=["a", "b", "c", "ab", "", "<s>", "</s>", "<think>", "<|eot|>", "[PAD9]"])
    assert parts.backend.token_to_id("[EMPTY_4]") == 4
