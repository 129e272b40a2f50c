"""Typed access to metadata: what is found, what defaults, what is refused by name."""

import re

import pytest
from intermodal.checkpoints.metadata import Metadata
from intermodal.errors import ConfigError

VALUES = {
    "general.name": "tiny",
    "arch.embedding_length": 64,
    "arch.attention.head_count": [4, 4, 4],
    "arch.attention.head_count_kv": [1, 2, 1],
    "arch.attention.causal": False,
    "arch.rope.freq_base": 10000.0,
    "arch.rope.scaling.type": "linear",
    "arch.labels": ["a", "b"],
    "arch.infinite": float("inf"),
}
METADATA = Metadata(VALUES, "arch", "model.bin")


def test_values_are_found_under_the_architecture_and_shared_ones_as_they_are():
    assert METADATA.need("embedding_length") == 64
    assert METADATA.need("general.name", str) == "tiny"
    assert METADATA.need("rope.freq_base", float) == 10000.0
    assert METADATA.need("embedding_length", float) == 64.0
    assert type(METADATA.need("embedding_length", float)) is float
    assert METADATA.need("attention.causal", bool) is False
    assert METADATA.need("labels", list) == ["a", "b"]
    assert "rope.freq_base" in METADATA
    assert "rope.other" not in METADATA


def test_what_is_absent_has_a_default_or_is_named():
    assert METADATA.get("vocab_size") is None
    assert METADATA.get("rope.scale", 1.0, float) == 1.0
    assert METADATA.get("embedding_length", 1) == 64
    with pytest.raises(ConfigError, match=r"model\.bin: the key arch\.vocab_size is missing"):
        METADATA.need("vocab_size")


def test_one_number_for_each_layer_is_that_number_where_all_are_equal():
    assert METADATA.need("attention.head_count") == 4
    with pytest.raises(ConfigError, match=r"arch\.attention\.head_count_kv differs between layers"):
        METADATA.need("attention.head_count_kv")


@pytest.mark.parametrize(
    ("name", "kind", "least", "message"),
    [
        ("general.name", int, None, "general.name is 'tiny', expected an integer"),
        ("attention.causal", int, None, "is 'False', expected an integer"),
        ("attention.causal", float, None, "expected a number"),
        ("embedding_length", bool, None, "expected true or false"),
        ("embedding_length", str, None, "expected a string"),
        ("embedding_length", list, None, "expected a list"),
        ("rope.freq_base", int, None, "arch.rope.freq_base is '10000.0', expected an integer"),
        ("infinite", float, None, "expected a finite number"),
        ("embedding_length", int, 65, "is 64, expected at least 65"),
    ],
)
def test_another_type_or_range_is_refused(name, kind, least, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        METADATA.need(name, kind, least=least)
    assert str(caught.value).startswith("model.bin: ")
