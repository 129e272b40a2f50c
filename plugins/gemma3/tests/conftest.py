"""A small Gemma 3, as transformers makes it."""

import pytest
from intermodal.testing import TINY_DECODER

TINY = {
    **TINY_DECODER,
    "num_hidden_layers": 4,
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 9,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}


@pytest.fixture(scope="session")
def tiny() -> dict:
    """Config fields of a model of a few thousand weights."""
    return dict(TINY)
