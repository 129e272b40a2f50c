"""Keeps what JAX compiled on disk, so that a second process compiles nothing: where, how much, and whether at all.

The cache is JAX's own. It is keyed by program, jaxlib, device and flags; what is settled here is a folder for each
jaxlib, version of ours and kind of processor, and a bound on its size. What the user told JAX about it is left alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

VARIABLE = "INTERMODAL_CACHE"
OFF = "off"

MOST_BYTES = 1 << 28
"""Of one folder; the programs used least recently go first. A model of 30 layers takes about half a megabyte."""

MOST_PROGRAMS = 1000
"""What a process finds at most when it starts. JAX looks at every entry before it adds one, 20 µs each; small programs,
of which there are many, would otherwise take longer to be kept than to be compiled."""

OPTIONS = (
    ("jax_compilation_cache_max_size", -1, MOST_BYTES),
    ("jax_persistent_cache_min_compile_time_secs", 1.0, 0.0),
)
"""What is told to JAX beside the folder: name, JAX's default, ours."""

KEPT_FOLDERS = 3
"""How many folders of other versions or processors stay, besides the one in use."""


def cache_folder() -> Path | None:
    """Where compiled programs are kept: INTERMODAL_CACHE, else the user's cache folder; None where it is `off`."""
    chosen = os.environ.get(VARIABLE)
    if chosen == OFF:
        return None
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        home = "~/Library/Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "intermodal"


def keep_programs() -> Path | None:
    """Tell JAX to keep what it compiles, unless the user told it anything about that. Called again, it does nothing.

    Returns:
        The folder; None where nothing was told: the user did, or wants none, or no folder can be made.
    """
    import jax

    own = cache_folder()
    settings: Any = jax.config
    chosen = settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache
    if own is None or chosen:
        return None
    folder = own / "jax" / _kind()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # whoever writes there decides what this process runs
        folder.touch()
        _mend(folder)
    except OSError:  # a home that cannot be written to: everything works, and compiles anew
        return None
    _remove_old(folder)
    settings.update("jax_compilation_cache_dir", str(folder))
    for name, default, value in OPTIONS:
        if name.upper() not in os.environ and getattr(settings, name) == default:
            settings.update(name, value)
    return folder


def _kind() -> str:
    """Names what programs depend on, and JAX may not look at: jaxlib, this package, instructions of the processor."""
    from importlib.metadata import version

    from intermodal.catalog import running_version

    processor = hashlib.sha256(_instructions().encode()).hexdigest()[:12]
    return f"jaxlib-{version('jaxlib')}-intermodal-{running_version()}-{processor}"


def _instructions() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            told = {line for line in file.read(1 << 20).splitlines() if line.startswith(("flags", "Features"))}
    except OSError:
        told = set()
    return "\n".join([platform.machine(), platform.processor(), *sorted(told)])


def _mend(folder: Path) -> None:
    """Remove entries that a killed process left half written, and those used least recently where there are too many.

    JAX notes an entry's time of use last, in a file beside it, and trips where that is missing.
    """
    import filelock

    whole: list[tuple[int, Path, Path]] = []
    try:
        with filelock.FileLock(folder / ".lockfile", timeout=1):
            for entry in folder.glob("*-cache"):
                used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
                if used.exists():
                    whole.append((used.stat().st_mtime_ns, entry, used))
                else:
                    entry.unlink()
            for _, *files in sorted(whole)[:-MOST_PROGRAMS]:
                for file in files:
                    file.unlink()
    except filelock.Timeout:  # somebody writes: not a dead process
        pass


def _remove_old(folder: Path) -> None:
    others = [other for other in folder.parent.iterdir() if other != folder and other.is_dir()]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    for other in others[KEPT_FOLDERS:]:
        shutil.rmtree(other, ignore_errors=True)
