"""transformers builds LayoutLMv2 with detectron2, which no registry has; here with a stand-in for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def stand_in():
    """The module `detectron2_stand_in.py` beside this file."""
    path = Path(__file__).with_name("detectron2_stand_in.py")
    spec = importlib.util.spec_from_file_location("detectron2_stand_in", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def _transformers_without_detectron2():
    if importlib.util.find_spec("transformers") and not importlib.util.find_spec("detectron2"):
        stand_in().install()
