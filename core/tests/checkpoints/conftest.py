from collections.abc import Iterator

import pytest
from intermodal.testing.hub import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A loopback hub that this process' huggingface_hub talks to, without a token."""
    with LoopbackHub() as server, server.activate():
        yield server
