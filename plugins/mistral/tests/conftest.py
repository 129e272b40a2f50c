"""A small Mistral, as transformers makes it."""

import pytest
from intermodal.testing import TINY_DECODER


@pytest.fixture(scope="session")
def tiny() -> dict:
    """Config fields of a model of a few thousand weights."""
    return dict(TINY_DECODER)
