"""What JAX compiled is found again by other processes, and nobody's own settings are touched."""

import json
import os
import subprocess
import sys

import jax
import pytest
from intermodal import program_cache
from intermodal.program_cache import KEPT_FOLDERS, MOST_BYTES, OPTIONS, cache_folder, keep_programs

COUNT = """
import collections, json, sys
import jax.monitoring
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
import intermodal
model = intermodal.load(sys.argv[1], progress=False)
ids = model.generate({"input_ids": [[5, 6, 7]]}, max_new_tokens=12, do_sample=False)
drawn = model.generate({"input_ids": [[5, 6, 7], [8, 9, 10]]}, max_new_tokens=12, top_k=20, seed=3)
logits = model.predict_on_batch({"input_ids": ids})
print(json.dumps({"ids": [ids.tolist(), drawn.tolist(), logits.tolist()], **counts}))
"""


TOLD = ["jax_compilation_cache_dir", *(name for name, *_ in OPTIONS)]


def start(folder, cache, **more):
    inherited = {name: value for name, value in os.environ.items() if name.lower() not in TOLD}
    environment = {**inherited, "KERAS_BACKEND": "jax", "INTERMODAL_CACHE": str(cache), **more}
    command = [sys.executable, "-c", COUNT, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counts(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "persistent compilation cache" not in errors
    return json.loads(out.splitlines()[-1])


def test_two_processes_fill_the_cache_at_once_and_the_next_compiles_nothing(folder, tmp_path):
    first = [counts(process) for process in [start(folder, tmp_path / "kept") for _ in range(2)]]
    assert all(count["cache_misses"] + count.get("cache_hits", 0) > 4 for count in first)
    later = counts(start(folder, tmp_path / "kept"))
    assert later["ids"] == first[0]["ids"] == first[1]["ids"]
    assert later["cache_hits"] == later["compile_requests_use_cache"] > 4
    assert "cache_misses" not in later


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """JAX's settings, put back afterwards; nothing compiles meanwhile, so no cache is ever opened."""
    monkeypatch.setenv("INTERMODAL_CACHE", str(tmp_path / "kept"))
    for name in TOLD:
        monkeypatch.delenv(name.upper(), raising=False)
    names = ["jax_enable_compilation_cache", *TOLD]
    before = {name: getattr(jax.config, name) for name in names}
    for name, default in [("jax_compilation_cache_dir", None), *((name, default) for name, default, _ in OPTIONS)]:
        jax.config.update(name, default)  # tests before may have been told a folder for all processes
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_jax_is_told_folder_and_bounds(settings, tmp_path):
    folder = keep_programs()
    assert folder.parent == tmp_path / "kept" / "jax"
    assert jax.lib.__version__ in folder.name
    assert folder.stat().st_mode & 0o777 == 0o700
    assert settings.jax_compilation_cache_dir == str(folder)
    assert settings.jax_compilation_cache_max_size == MOST_BYTES
    assert settings.jax_persistent_cache_min_compile_time_secs == 0
    assert keep_programs() is None


def test_what_the_user_told_jax_stays(settings, tmp_path, monkeypatch):
    settings.update("jax_enable_compilation_cache", False)
    assert keep_programs() is None
    settings.update("jax_enable_compilation_cache", True)
    settings.update("jax_compilation_cache_dir", "elsewhere")
    assert keep_programs() is None
    assert settings.jax_compilation_cache_dir == "elsewhere"
    assert settings.jax_compilation_cache_max_size == -1
    settings.update("jax_compilation_cache_dir", None)
    settings.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "-1")  # the default, and said all the same
    assert keep_programs() is not None
    assert settings.jax_persistent_cache_min_compile_time_secs == 7
    assert settings.jax_compilation_cache_max_size == -1


def test_nothing_is_kept_where_nobody_wants_it_or_nothing_can_be_written(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("INTERMODAL_CACHE", "off")
    assert keep_programs() is None
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTERMODAL_CACHE", str(tmp_path / "file"))
    assert keep_programs() is None
    assert settings.jax_compilation_cache_dir is None


def test_half_written_entries_and_folders_of_old_versions_go(settings, tmp_path):
    folder = keep_programs()
    settings.update("jax_compilation_cache_dir", None)
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (folder / name).write_bytes(b"12345678")
    others = [folder.with_name(f"jaxlib-0.{age}") for age in range(KEPT_FOLDERS + 2)]
    for age, other in enumerate(others):
        other.mkdir()
        os.utime(other, (age, age))
    assert keep_programs() == folder
    assert {path.name for path in folder.iterdir()} - {".lockfile"} == {"whole-cache", "whole-atime"}
    assert {path for path in folder.parent.iterdir()} == {folder, *others[2:]}


def test_programs_used_least_recently_go_where_there_are_many(settings, monkeypatch):
    folder = keep_programs()
    settings.update("jax_compilation_cache_dir", None)
    for age, name in enumerate("cadb"):
        (folder / f"{name}-cache").write_bytes(b"program")
        (folder / f"{name}-atime").write_bytes(b"12345678")
        os.utime(folder / f"{name}-atime", (1000 - age, 1000 - age))
    for most, left in ((4, "abcd"), (2, "ac")):
        monkeypatch.setattr(program_cache, "MOST_PROGRAMS", most)
        assert keep_programs() == folder
        settings.update("jax_compilation_cache_dir", None)
        expected = {f"{name}-{kind}" for name in left for kind in ("cache", "atime")}
        assert {path.name for path in folder.iterdir()} - {".lockfile"} == expected


@pytest.mark.skipif(sys.platform != "linux", reason="the folder of this system")
def test_the_folder_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.delenv("INTERMODAL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "intermodal"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "intermodal"
    monkeypatch.setenv("INTERMODAL_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
