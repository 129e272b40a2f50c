import os
import subprocess
import sys
from pathlib import Path

import pytest
from intermodal.errors import SourceError
from intermodal.sources import open_repository, parse_uri
from intermodal.sources.base import Access


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_bytes(b"ref")
    (root / "config.json").write_bytes(b"{}")
    (root / "model.gguf").write_bytes(b"GGUF0123456789")
    (root / "sub" / "tokenizer.json").write_bytes(b"[]")
    return root


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/name@main", ("hf", "org/name@main")),
        ("HF://org/name", ("hf", "org/name")),
        ("/a/b", ("", "/a/b")),
        ("org/name", ("", "org/name")),
        ("C:\\models\\x", ("", "C:\\models\\x")),
        ("file:///a/b%20c", ("file", "/a/b c")),
        ("file://localhost/a", ("file", "/a")),
        ("file:///C:/models", ("file", "C:/models")),
        (Path("/a/b"), ("", "/a/b")),
    ],
)
def test_parse_uri(uri, expected):
    assert parse_uri(uri) == expected


def test_parse_uri_of_another_machine():
    with pytest.raises(SourceError, match="no file of this machine"):
        parse_uri("file://server/share")


def test_folder(folder):
    for uri in (str(folder), folder, folder.as_uri(), f"{folder}/"):
        opened = open_repository(uri, Access())
        assert dict(opened.files()) == {"config.json": 2, "model.gguf": 14, "sub/tokenizer.json": 2}
        assert (opened.revision, opened.selected) == (None, None)
        assert opened.local_path("sub/tokenizer.json").read_bytes() == b"[]"
        assert opened.read_range("model.gguf", 4, 7) == b"012"
        assert opened.read_range("model.gguf", 12, 99) == b"89"
    assert dict(open_repository(folder, Access(subfolder="sub")).files()) == {"tokenizer.json": 2}


def test_file_selects_itself_in_its_folder(folder):
    opened = open_repository(f"{folder}/model.gguf", Access())
    assert opened.selected == "model.gguf"
    assert dict(opened.files()) == {"config.json": 2, "model.gguf": 14}


def test_home_folder_and_relative_paths(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert open_repository("~/model", Access()).has("config.json")
    monkeypatch.chdir(folder.parent)
    opened = open_repository("model", Access())
    monkeypatch.chdir("/")
    assert opened.read_range("config.json", 0, 2) == b"{}"


def test_hub_name_without_scheme():
    with pytest.raises(SourceError, match=r"write: hf://org/name@v1$"):
        open_repository("org/name@v1", Access())


def test_missing_path_says_how_far_it_exists(tmp_path):
    with pytest.raises(SourceError, match=rf"{tmp_path} is the last part"):
        open_repository(tmp_path / "no" / "such", Access())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\\b", "sub/../../x", "a\0b", "", "sub//x", "C:/x", "."])
def test_names_that_leave_the_folder_are_refused(folder, name):
    (folder.parent / "secret").write_bytes(b"secret")
    opened = open_repository(folder, Access())
    for use in (opened.local_path, opened.has, lambda n: opened.read_range(n, 0, 1), lambda n: opened.fetch([n])):
        with pytest.raises(SourceError, match="refused"):
            use(name)


def test_links_that_leave_the_folder_are_refused(folder):
    secret = folder.parent / "secret.json"
    secret.write_bytes(b"secret")
    (folder / "generation_config.json").symlink_to(secret)
    (folder / "alias.json").symlink_to("config.json")
    (folder / "outside").symlink_to(folder.parent)
    opened = open_repository(folder, Access())
    assert opened.local_path("alias.json").read_bytes() == b"{}"
    for name in ("generation_config.json", "outside/secret.json"):
        with pytest.raises(SourceError, match=r"link to .*secret\.json, outside"):
            opened.local_path(name)
        with pytest.raises(SourceError, match="not followed"):
            opened.read_small(name, 100)
    # The file that the user names may be a link: that is the user's own choice.
    named = open_repository(folder / "generation_config.json", Access())
    assert named.local_path("generation_config.json").read_bytes() == b"secret"


def test_folder_that_is_a_link(folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert open_repository(link, Access()).local_path("config.json").read_bytes() == b"{}"


def test_hub_cache_links_are_followed(tmp_path):
    store = tmp_path / "models--org--name"
    snapshot = store / "snapshots" / ("0" * 40)
    (snapshot / "sub").mkdir(parents=True)
    (store / "blobs").mkdir()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "shared").write_bytes(b"shared")
    (store / "blobs" / "a").write_bytes(b"{}")
    (store / "blobs" / "b").symlink_to("../../blobs/shared")
    (snapshot / "config.json").symlink_to("../../blobs/a")
    (snapshot / "sub" / "x.json").symlink_to("../../../blobs/b")
    (snapshot / "escape.json").symlink_to("/etc/hostname")
    opened = open_repository(snapshot, Access())
    assert opened.local_path("config.json").read_bytes() == b"{}"
    assert opened.local_path("sub/x.json").read_bytes() == b"shared"
    with pytest.raises(SourceError, match="not followed"):
        opened.local_path("escape.json")


def test_unknown_schemes():
    with pytest.raises(SourceError, match="unknown scheme s3://"):
        open_repository("s3://bucket/x", Access())
    asked = []

    def source_for(scheme):
        asked.append(scheme)
        raise SourceError("asked")

    with pytest.raises(SourceError, match="asked"):
        open_repository("s3://bucket/x", Access(), source_for)
    assert asked == ["s3"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://huggingface.co/org/name", "write: hf://org/name$"),
        ("https://huggingface.co/org/name/tree/main/sub?x=1", "write: hf://org/name@main/sub$"),
        ("https://hf.co/org/name/blob/v1/a.gguf", r"write: hf://org/name@v1/a\.gguf$"),
        ("https://example.com/model.gguf", "web address"),
    ],
)
def test_web_addresses(url, expected):
    with pytest.raises(SourceError, match=expected):
        open_repository(url, Access())


def test_read_small_is_bounded(folder):
    opened = open_repository(folder, Access())
    assert opened.read_small("config.json", 2) == b"{}"
    with pytest.raises(SourceError, match=r"model\.gguf .* 14 bytes or more, expected at most 13"):
        opened.read_small("model.gguf", 13)


def test_sources_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from intermodal.sources import builtin_sources, open_repository\n"
        "from intermodal.sources.base import Access\n"
        "builtin_sources(); open_repository(sys.argv[1], Access()).files()\n"
        "heavy = {'huggingface_hub', 'numpy', 'keras', 'rich', 'requests', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
