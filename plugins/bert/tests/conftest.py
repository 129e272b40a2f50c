"""A small BERT, as transformers makes it, and a vocabulary for it."""

import pytest

TINY = {
    "vocab_size": 99,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
}


@pytest.fixture(scope="session")
def tiny() -> dict:
    """Config fields of a model of a few thousand weights."""
    return dict(TINY)
