"""The pytest plugin of the conformance kit: its markers and fixtures, and where references are kept. Nothing heavy."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from intermodal.testing.references import References

MARKERS = (
    "backend: numbers that depend on the Keras backend; run these once for each (KERAS_BACKEND)",
    "reference: asks transformers itself, not only what it computed before",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where references are kept."""
    group = parser.getgroup("intermodal")
    group.addoption(
        "--intermodal-references",
        metavar="FOLDER",
        help="keep what transformers computed for the conformance kit here (default: in pytest's cache)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the kit's markers, and keep compiled programs of tests out of the user's cache."""
    os.environ.setdefault("INTERMODAL_CACHE", "off")
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches processes that the test starts, even where this one was started without it: behind a `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def intermodal_references(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> References:
    """What transformers computed, kept between runs and shared by the processes of the three backends."""
    from intermodal.testing.references import References

    chosen = request.config.getoption("--intermodal-references")
    if chosen:
        return References(Path(chosen).absolute())
    cache = getattr(request.config, "cache", None)  # pytest -p no:cacheprovider has none
    return References(cache.mkdir("intermodal-references") if cache else tmp_path_factory.mktemp("references"))
