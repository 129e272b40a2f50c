"""Compiles the C files into one shared library, which the package loads with ctypes: one wheel serves every Python.

The compiler is CC, or the machine's own, or the one in the wheel `ziglang`, which is asked for only where there is no
other. Each set of instructions is compiled by itself and chosen when the library is loaded, so a wheel that was built
on one processor runs on any of its kind.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("src/intermodal_native")
LIBRARY = "libintermodal_native.so"
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-fno-math-errno", "-pthread"]
EXACT = ["-ffp-contract=off", "-fno-trapping-math"]
"""For files that have to give the bits of another program: each product and each sum is rounded."""
PATHS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c"],
}


def compiler() -> list[str] | None:
    """The command that compiles, None where there is none."""
    if "CC" in os.environ:
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


def fingerprint(sources: Path) -> int:
    """A number that changes with the C files: by it, Python knows a library that was compiled from others."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(sources.glob("*.[ch]"))))


def commands(cc: list[str], sources: Path, objects: Path, machine: str) -> list[list[str]]:
    """The commands that make the library for a machine, one object for each source and set of instructions."""
    x86 = machine.lower() in ("x86_64", "amd64")
    made, run = [], []
    known = f"-DFINGERPRINT={fingerprint(sources)}u"
    for source in sorted(sources.glob("*.c")):
        paths = PATHS if source.stem.endswith("_path") and x86 else {"baseline": []}
        for path, flags in paths.items():
            made.append(str(objects / f"{source.stem}-{path}.o"))
            exact = EXACT if source.stem.startswith("dequantize") else []
            run.append([*cc, *FLAGS, known, *exact, *flags, "-c", str(source), "-o", made[-1]])
    return [*run, [*cc, "-shared", "-pthread", *made, "-o", str(objects / LIBRARY)]]


class CompileHook(BuildHookInterface):
    """Adds the library to a wheel, or puts it beside the sources of an editable installation."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """A compiler, where the machine has none."""
        return [] if compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile. An editable installation goes through without a compiler: the plugin then says what is missing."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        with tempfile.TemporaryDirectory() as folder:
            try:
                library = self._compile(root / PACKAGE / "c", Path(folder))
            except (OSError, subprocess.CalledProcessError) as error:
                if version != "editable":
                    raise
                said = getattr(error, "stderr", "") or str(error)
                self.app.display_warning(f"intermodal-native was not compiled, and will not be used: {said}")
                return
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
            kept = root / PACKAGE / LIBRARY
            if version != "editable":
                kept = Path(self.directory) / LIBRARY
                build_data["force_include"][str(kept)] = f"intermodal_native/{LIBRARY}"
            beside = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(library, beside)  # a running process may have the old one mapped: it is replaced whole
            beside.replace(kept)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing but the wheel in its folder."""
        if version != "editable":
            (Path(self.directory) / LIBRARY).unlink(missing_ok=True)

    def _compile(self, sources: Path, folder: Path) -> Path:
        cc = compiler()
        if cc is None:
            raise OSError("no C compiler: install gcc or clang, or pip install ziglang")
        for command in commands(cc, sources, folder, platform.machine()):
            subprocess.run(command, check=True, capture_output=True, text=True)
        return folder / LIBRARY
