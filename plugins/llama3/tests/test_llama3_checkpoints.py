"""Llama checkpoints as they are found: prefixes, shards, ties, other tasks, defects; and written back."""

import json
import shutil

import intermodal
import numpy as np
import pytest
from intermodal.errors import IntermodalError, TaskError, WeightError
from intermodal.testing.reference import (
    assert_close,
    edit_checkpoint,
    make_reference,
    reference_outputs,
    save_reference,
    tensor_bytes,
)
from safetensors.numpy import load_file

IDS = np.random.default_rng(5).integers(3, 96, (2, 17)).astype("int32")


@pytest.fixture(scope="session")
def reference(tiny):
    return make_reference("LlamaForCausalLM", tiny)


@pytest.fixture(scope="session")
def expected(reference):
    return reference_outputs(reference, input_ids=IDS)["logits"]


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "checkpoint")


def test_architectures_absent(folder, expected):
    with pytest.warns(UserWarning, match="names no architectures"):
        assert_close(intermodal.load(edit_checkpoint(folder, architectures=None))(IDS), expected)


def test_inv_freq_of_old_checkpoints_is_ignored_with_its_reason(folder, expected):
    def old(tensors):
        return {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(6, "float32")}

    model = intermodal.load(edit_checkpoint(folder, old))
    assert list(model.report.ignored.values()) == ["computed from the config"]
    assert_close(model(IDS), expected)


def test_wrong_shape_names_tensor_and_config(folder):
    with pytest.raises(WeightError, match=r"q_proj.weight in model.safetensors: shape \(48, 48\), the config says"):
        intermodal.load(edit_checkpoint(folder, num_attention_heads=8, head_dim=12))


def test_unknown_model_type(folder):
    with pytest.raises(IntermodalError, match="no_such_model"):
        intermodal.load(edit_checkpoint(folder, model_type="no_such_model"))


def test_an_unknown_architecture_is_refused_until_a_task_is_named(folder, expected):
    edit_checkpoint(folder, architectures=["OddForCausalLM"])
    with pytest.raises(TaskError, match="OddForCausalLM"):
        intermodal.load(folder)
    assert_close(intermodal.load(folder, "text-generation")(IDS), expected)


def test_a_task_that_the_family_lacks_is_refused(folder):
    with pytest.raises(TaskError, match=r"image-classification.*text-generation"):
        intermodal.load(folder, "image-classification")


def test_the_backbone_alone(folder, reference):
    model = intermodal.load(folder, task="feature-extraction")
    expected = reference_outputs(reference.model, input_ids=IDS)["last_hidden_state"]
    assert_close(model(IDS)["last_hidden_state"], expected)


def test_report_accounts_for_every_tensor(folder):
    report = intermodal.load(folder).report
    read = {source["tensor"] for sources in report.loaded.values() for source in sources}
    assert read == set(load_file(folder / "model.safetensors"))
    assert report.plugin == "intermodal-llama3"
    json.loads(report.to_json())


def test_convert_keeps_values_and_needs_no_keras(folder, expected, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, intermodal; intermodal.convert(sys.argv[1], sys.argv[2]); "
        "assert 'keras' not in sys.modules, 'keras was imported'"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "out")], check=True)
    assert_close(intermodal.load(tmp_path / "out")(IDS), expected)
    written, original = tensor_bytes(tmp_path / "out"), tensor_bytes(folder)
    assert all(np.array_equal(written[name], original[name]) for name in original)


def test_a_failed_save_leaves_the_old_folder_alone(folder, tmp_path, monkeypatch):
    model = intermodal.load(folder)
    target = tmp_path / "kept"
    shutil.copytree(folder, target)
    before = (target / "model.safetensors").read_bytes()
    monkeypatch.setattr(type(model.config), "to_hf", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.save_pretrained(target)
    assert (target / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
