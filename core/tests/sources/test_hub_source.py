"""hf:// through the real huggingface_hub client against the loopback hub."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import huggingface_hub
import pytest
from intermodal.errors import SourceError
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal.testing.hub import TOKEN, Fault, LoopbackHub

FILES = {
    "config.json": b'{"model_type": "tiny"}',
    "model.safetensors": bytes(range(256)) * 4000,
    "pytorch_model.bin": b"pickle",
    "nested/config.json": b"{}",
    "nested/part.gguf": b"GGUF....",
}


@pytest.fixture
def repo(hub: LoopbackHub) -> LoopbackHub:
    hub.add_repo("org/name", FILES)
    return hub


def test_open_fetches_listing_only(repo):
    opened = open_repository("hf://org/name", Access())
    assert opened.files() == {name: len(content) for name, content in FILES.items()}
    assert opened.revision == repo.repositories["org/name"].refs["main"]
    assert opened.selected is None
    asked = [(entry.method, entry.path) for entry in repo.requests if "org/name" in entry.path]
    assert asked == [("GET", "/api/models/org/name")]


def test_only_needed_files_are_fetched_and_kept(repo):
    opened = open_repository("hf://org/name", Access())
    opened.fetch(["config.json", "model.safetensors"])
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert opened.local_path("config.json").read_bytes() == FILES["config.json"]
    assert repo.sent("model.safetensors") == len(FILES["model.safetensors"])  # once
    assert repo.sent("pytorch_model.bin") == 0
    # The layout is the client's own: other tools find the files too.
    cached = huggingface_hub.try_to_load_from_cache("org/name", "model.safetensors")
    assert cached == str(opened.local_path("model.safetensors"))


def test_all_files_come_from_one_commit(repo):
    opened = open_repository("hf://org/name", Access())
    opened.fetch(["config.json"])
    repo.commit("org/name", {"config.json": b"{}", "model.safetensors": b"other"})
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert opened.read_range("pytorch_model.bin", 0, 3) == b"pic"
    assert open_repository("hf://org/name", Access()).local_path("model.safetensors").read_bytes() == b"other"


def test_revisions(repo):
    first = repo.repositories["org/name"].refs["main"]
    repo.commit("org/name", {"config.json": b"second"}, branch="main")
    repo.commit("org/name", {"config.json": b"pull", "sub/x.json": b"{}"}, branch="refs/pr/1")
    repo.commit("org/name", {"config.json": b"branch"}, branch="feature/x")
    assert open_repository(f"hf://org/name@{first}", Access()).read_small("config.json", 100) == FILES["config.json"]
    assert open_repository("hf://org/name", Access(revision=first)).revision == first
    assert open_repository("hf://org/name@refs/pr/1", Access()).read_small("config.json", 100) == b"pull"
    assert open_repository("hf://org/name@refs/pr/1/sub", Access()).files() == {"x.json": 2}
    assert open_repository("hf://org/name@feature%2Fx", Access()).read_small("config.json", 100) == b"branch"
    with pytest.raises(SourceError, match=r"one revision.*another"):
        open_repository("hf://org/name@main", Access(revision="v1"))


def test_subfolder_and_file(repo):
    folder = open_repository("hf://org/name/nested", Access())
    assert folder.files() == {"config.json": 2, "part.gguf": 8}
    assert folder.local_path("config.json").read_bytes() == b"{}"
    assert open_repository("hf://org/name", Access(subfolder="nested")).files() == folder.files()
    file = open_repository("hf://org/name/nested/part.gguf", Access())
    assert (file.selected, file.read_range("part.gguf", 0, 4)) == ("part.gguf", b"GGUF")
    with pytest.raises(SourceError, match=r"no file or folder 'missing'.*config\.json"):
        open_repository("hf://org/name/missing", Access())


def test_ranges_download_nothing(repo):
    opened = open_repository("hf://org/name", Access())
    content = FILES["model.safetensors"]
    assert opened.read_range("model.safetensors", 100, 400) == content[100:400]
    assert opened.read_range("model.safetensors", len(content) - 5, len(content) + 5) == content[-5:]
    assert opened.read_range("model.safetensors", len(content), len(content) + 5) == b""
    assert repo.sent("model.safetensors") == 305
    assert huggingface_hub.try_to_load_from_cache("org/name", "model.safetensors") is None
    opened.fetch(["model.safetensors"])
    asked = len(repo.requests)
    assert opened.read_range("model.safetensors", 7, 9) == content[7:9]
    assert len(repo.requests) == asked  # from the cache


def test_offline_uses_the_cache_and_asks_nothing(repo, monkeypatch):
    open_repository("hf://org/name", Access()).fetch(["config.json", "model.safetensors"])
    asked = len(repo.requests)
    offline = open_repository("hf://org/name", Access(local_files_only=True))
    assert set(offline.files()) == {"config.json", "model.safetensors"}
    assert offline.revision == repo.repositories["org/name"].refs["main"]
    assert offline.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]
    with pytest.raises(SourceError, match="only cached files are seen"):
        offline.local_path("pytorch_model.bin")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_repository("hf://org/name", Access()).read_range("config.json", 0, 1) == b"{"
    with pytest.raises(SourceError, match="force_download"):
        open_repository("hf://org/name", Access(force_download=True))
    assert len(repo.requests) == asked


def test_offline_without_cache(repo):
    with pytest.raises(SourceError, match=r"nothing of org/name.*cached.*hf download org/name"):
        open_repository("hf://org/name", Access(local_files_only=True))
    assert repo.requests == []


def test_unreachable_hub_falls_back_to_the_cache_aloud(repo, monkeypatch):
    open_repository("hf://org/name", Access()).fetch(["config.json"])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match=r"could not be reached.*loaded from the cache, at commit"):
        opened = open_repository("hf://org/name", Access())
    assert opened.read_small("config.json", 100) == FILES["config.json"]
    with pytest.raises(SourceError, match=r"connection to the Hub failed.*local_files_only"):
        open_repository("hf://org/never-seen", Access())


def test_hub_trouble(repo):
    repo.inject(Fault("/api/models/org/name", status=503))
    with pytest.raises(SourceError, match=r"problem of its own.*503"):
        open_repository("hf://org/name", Access())
    repo.inject(Fault("/api/models/org/name", status=429))
    with pytest.raises(SourceError, match="limits how often"):
        open_repository("hf://org/name", Access())
    assert open_repository("hf://org/name", Access()).has("config.json")


def test_missing_repository_and_revision_and_file(repo):
    with pytest.raises(SourceError, match=r"org/absent does not exist, or is private.*HF_TOKEN"):
        open_repository("hf://org/absent", Access())
    with pytest.raises(SourceError, match="no revision 'v9'"):
        open_repository("hf://org/name@v9", Access())
    opened = open_repository("hf://org/name", Access())
    with pytest.raises(SourceError, match=r"no file 'model\.bin'.*config\.json"):
        opened.local_path("model.bin")


def test_private(repo):
    repo.add_repo("org/private", FILES, private=True)
    with pytest.raises(SourceError, match=r"private.*intermodal\.login\(\)"):
        open_repository("hf://org/private", Access())
    with pytest.raises(SourceError, match="token that was sent is not valid"):
        open_repository("hf://org/private", Access(token="hf_wrong"))
    opened = open_repository("hf://org/private", Access(token=TOKEN))
    assert opened.local_path("config.json").read_bytes() == FILES["config.json"]
    assert opened.read_range("model.safetensors", 0, 2) == b"\x00\x01"


def test_gated(repo):
    repo.add_repo("org/gated", FILES, gated=True)
    for access in (Access(), Access(token=TOKEN)):
        opened = open_repository("hf://org/gated", access)
        match = rf"gated\. Accept its terms at {repo.endpoint}/org/gated.*intermodal\.login\(\)"
        with pytest.raises(SourceError, match=match):
            opened.local_path("config.json")
        with pytest.raises(SourceError, match=match):
            opened.read_range("model.safetensors", 0, 8)
    repo.accept_terms("org/gated")
    opened = open_repository("hf://org/gated", Access(token=TOKEN))
    assert opened.local_path("config.json").read_bytes() == FILES["config.json"]


def test_token_does_not_follow_to_the_cdn():
    with LoopbackHub(cdn=True) as hub, hub.activate():
        hub.add_repo("org/name", FILES, private=True)
        opened = open_repository("hf://org/name", Access(token=TOKEN))
        assert opened.read_range("model.safetensors", 5, 9) == FILES["model.safetensors"][5:9]
        assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]
        asked = [entry for entry in hub.requests if entry.path.startswith("/cdn/")]
        assert [entry.token for entry in asked] == [None, None]


def test_force_download_fetches_again_once(repo):
    open_repository("hf://org/name", Access()).fetch(["config.json"])
    again = open_repository("hf://org/name", Access(force_download=True))
    again.local_path("config.json")
    again.local_path("config.json")
    assert repo.sent("resolve/" + again.revision + "/config.json") == 2 * len(FILES["config.json"])


def test_dropped_connection_is_taken_up_again(repo):
    repo.inject(Fault("model.safetensors", truncate=100_000))
    opened = open_repository("hf://org/name", Access())
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert repo.sent("model.safetensors") == len(FILES["model.safetensors"]) + 100_000


def test_short_transfer_is_never_trusted(repo):
    repo.inject(Fault("model.safetensors", shorten=1000))
    opened = open_repository("hf://org/name", Access())
    with pytest.raises(SourceError, match=r"cut off while fetching model\.safetensors.*running it again"):
        opened.local_path("model.safetensors")
    assert not list(repo.home.rglob("*.incomplete"))
    with pytest.raises(SourceError, match="no file"):
        open_repository(f"hf://org/name@{opened.revision}", Access(local_files_only=True)).fetch(["model.safetensors"])
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_cached_file_of_wrong_size_is_fetched_again(repo):
    opened = open_repository("hf://org/name", Access())
    path = opened.local_path("model.safetensors")
    path.resolve().write_bytes(b"half")
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_one_failure_stops_the_others(repo):
    repo.inject(Fault("config.json", status=500, method="GET"))
    repo.inject(Fault("model.safetensors", delay=5))
    opened = open_repository("hf://org/name", Access())
    with pytest.raises(SourceError, match="500"):
        opened.fetch(["config.json", "model.safetensors"])
    assert not repo.sent("model.safetensors"), "it waited for the other"
    # Else it would try again when this Hub is gone, for which the client closes all that it has open in this process.
    for thread in threading.enumerate():
        if thread.name == "intermodal-download":
            thread.join(60)


def test_ctrl_c_leaves_at_once_and_nothing_that_is_trusted(repo, interruptible):
    repo.inject(Fault("model.safetensors", delay=60))
    code = (
        "from intermodal.sources import open_repository; from intermodal.sources.base import Access\n"
        "open_repository('hf://org/name', Access()).fetch(['model.safetensors'])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **repo.environment()}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not list(repo.home.rglob("*.incomplete")) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)  # the file would come after 60 s
    assert b"KeyboardInterrupt" in errors
    assert huggingface_hub.try_to_load_from_cache("org/name", "model.safetensors") is None
    opened = open_repository("hf://org/name", Access())
    assert opened.local_path("model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_files_are_fetched_in_parallel(hub):
    names = [f"model-{index}.safetensors" for index in range(8)]
    hub.add_repo("org/many", {name: b"x" * 100 for name in names})
    for name in names:
        hub.inject(Fault(name, delay=1))
    opened = open_repository("hf://org/many", Access())
    start = time.monotonic()
    opened.fetch(names)
    assert time.monotonic() - start < len(names), "one after the other"
    assert threading.active_count() < 50


def test_threads_may_load_at_once(repo):
    # In a process of its own: downloads that other tests abandoned still hold connections of this one's client.
    code = (
        "import threading; from intermodal.sources import open_repository; from intermodal.sources.base import Access\n"
        "found = []\n"
        "read = lambda: found.append(open_repository('hf://org/name', Access()).read_small('config.json', 100).hex())\n"
        "threads = [threading.Thread(target=read) for _ in range(6)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(*found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **repo.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [FILES["config.json"].hex()] * 6, done.stderr


def test_listing_with_hostile_names(hub):
    hub.add_repo("org/evil", {"../../escape.json": b"x", "a\\b": b"x", "/etc/passwd": b"x", "config.json": b"{}"})
    opened = open_repository("hf://org/evil", Access())
    assert set(opened.files()) == {"config.json"}
    for name in ("../../escape.json", "/etc/passwd", "a\\b", "a\0b", ""):
        with pytest.raises(SourceError, match="refused"):
            opened.local_path(name)


@pytest.mark.parametrize(
    ("uri", "match"),
    [
        ("hf://", "no name that a repository"),
        ("hf://na--me", "no name that a repository"),
        ("hf://datasets/org/name", "only models"),
        ("hf://org/na me", "no name that a repository"),
        ("hf://org/..", "no name that a repository"),
        ("hf://org/name@../../x", "no revision|refused"),
        ("hf://org/name/../x", "refused"),
    ],
)
def test_malformed_uris(uri, match):
    with pytest.raises(SourceError, match=match):
        open_repository(uri, Access())


def test_small_files_are_bounded(repo):
    opened = open_repository("hf://org/name", Access())
    with pytest.raises(SourceError, match="expected at most 1000"):
        opened.read_small("model.safetensors", 1000)
    assert repo.sent("model.safetensors") == 0


def test_upload_with_the_real_client_then_open(hub):
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=TOKEN)
    assert api.whoami()["name"] == "tester"
    api.create_repo("tester/new", exist_ok=True)
    api.create_repo("tester/new", exist_ok=True)
    api.upload_file(path_or_fileobj=b'{"a": 1}', path_in_repo="config.json", repo_id="tester/new")
    commit = api.upload_file(path_or_fileobj=b"weights", path_in_repo="model.safetensors", repo_id="tester/new")
    opened = open_repository("hf://tester/new", Access())
    assert opened.revision == commit.oid
    assert opened.local_path("model.safetensors").read_bytes() == b"weights"


def test_snapshot_download_of_the_real_client(repo):
    folder = huggingface_hub.snapshot_download("org/name", endpoint=repo.endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_repository(folder, Access())  # a snapshot folder, whose files are links to ../../blobs
    assert opened.local_path("nested/part.gguf").read_bytes() == FILES["nested/part.gguf"]
    assert opened.local_path("model.safetensors").is_symlink()
