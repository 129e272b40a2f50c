"""The benchmarks work from end to end, and the page of results says what the kept figures say. Never how fast."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from intermodal.testing.reference import make_reference, save_reference

ROOT = Path(__file__).parents[1]
CONFIG = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
OURS, THEIRS = ("intermodal", "jax"), ("transformers", "torch")


def benchmark(script, *arguments):
    environment = {**os.environ, "INTERMODAL_CACHE": "off"}
    command = [sys.executable, f"benchmarks/{script}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    source = save_reference(make_reference("LlamaForCausalLM", CONFIG, seed=1), folder / "tiny")
    target = folder / "page" / "benchmarks" / "results.json"
    size = ("--quick", "--source", source, "--cache", folder / "cache", "--json", target)
    alone, beside = ("load", "growth", "first", "history"), ("decode", "throughput", "dequantize")
    printed = benchmark("run", *size, "--only", *alone, "--backends", "jax", "--peers").stdout
    printed += benchmark("run", *size, "--only", *beside, "--backends", "jax", "--peers", "transformers").stdout
    assert all(f"\n{suite} (" in printed for suite in alone + beside)
    return target


def rows_of(results, suite):
    rows = json.loads(results.read_text())["results"][suite]["rows"]
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert numbers
        assert all(math.isfinite(number) and number > 0 for number in numbers), row
    return {(row.get("what"), row.get("backend")) for row in rows}, rows


def test_every_suite_measures_ours_and_its_peers(results):
    for suite in ("load", "growth", "first", "history"):
        assert rows_of(results, suite)[0] == {OURS}
    assert [row["programs"] for row in rows_of(results, "first")[1]] == ["none", "kept"]
    for suite in ("decode", "throughput"):
        assert rows_of(results, suite)[0] == {OURS, THEIRS}
    assert rows_of(results, "dequantize")[1][0]["equal"] is True


def test_ours_and_the_peers_compute_the_same(results):
    decoded = rows_of(results, "decode")[1]
    assert {row["storage"] for row in decoded} == {"float32", "int8", "int4", "q8_0", "q4_0"}
    assert all(row["same"] for row in decoded if row["storage"] == "float32")
    assert all(row["same"] for row in rows_of(results, "throughput")[1])


def test_the_file_describes_the_machine_and_names_nobody(results):
    kept = json.loads(results.read_text())
    assert kept["quick"] is True
    assert kept["machine"]["cores"] == os.cpu_count()
    assert {"intermodal", "keras", "jax", "transformers"} <= kept["machine"]["packages"].keys()
    assert str(ROOT) not in results.read_text()
    assert os.uname().nodename not in json.dumps(kept["machine"])


def test_a_page_is_made_of_the_file(results):
    benchmark("page", "--json", results)
    benchmark("page", "--json", results, "--check")
    page = (results.parents[1] / "benchmarks.md").read_text()
    assert "| intermodal | jax | float32 |" in page
    pictures = sorted(results.parent.glob("*.svg"))
    assert [f"benchmarks/{picture.name}" in page for picture in pictures] == [True] * 6
    for picture in pictures:
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    (results.parents[1] / "benchmarks.md").write_text(page.replace("jax", "other", 1))
    with pytest.raises(AssertionError, match=r"Not what results\.json says: benchmarks\.md"):
        benchmark("page", "--json", results, "--check")


def test_the_committed_page_is_what_the_committed_figures_say():
    benchmark("page", "--check")
