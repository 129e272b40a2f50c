"""docs/reference/api.md says what intermodal.api offers: every name, with its signature."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_what_the_code_says():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "api-reference", "--check"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_is_there_and_in_the_page():
    from intermodal import api

    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for name in api.__all__:
        assert getattr(api, name, None) is not None
        assert f"**`{name}" in page or f"## `{name}`" in page, name
