"""`intermodal new`: what it writes from an installed family and from a checkpoint's headers, and what it refuses."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from intermodal.commands import main
from intermodal.errors import CheckpointError, IntermodalError, PluginError, UnfinishedError
from intermodal.scaffold.create import create
from safetensors.numpy import save_file

from .conftest import CONFIG, novel_tensors, write_checkpoint

pytest.importorskip("intermodal_llama3")


def imported(project: Path, module: str, monkeypatch: pytest.MonkeyPatch, *, finished: bool = True):
    """A module of a new plugin, with the marks taken out of its source, as an author does."""
    package = next((project / "src").iterdir())
    if finished:
        for path in package.glob("*.py"):
            lines = path.read_text().splitlines()
            path.write_text("\n".join(line for line in lines if not line.strip().startswith("unfinished(")) + "\n")
    monkeypatch.syspath_prepend(project / "src")
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return importlib.import_module(f"{package.name}.{module}")


def test_the_weight_map_of_a_checkpoint_has_its_names_and_shapes(novel, tmp_path, monkeypatch):
    project, _ = create("novel", "llama3", uri=str(novel), into=tmp_path)
    config, _ = imported(project, "config", monkeypatch).NovelConfig.from_hf(CONFIG)
    weight_map = imported(project, "weights", monkeypatch).weight_map(config, "text-generation")
    named = {("" if w.head else "model.") + w.name: w.shape for w in weight_map.weights}
    assert named == {name: shape for name, shape in novel_tensors().items() if "inv_freq" not in name}
    assert weight_map.prefix == "model."
    # another size gives other shapes: they are written in terms of the config
    config, _ = imported(project, "config", monkeypatch).NovelConfig.from_hf({**CONFIG, "intermediate_size": 90})
    other = imported(project, "weights", monkeypatch).weight_map(config, "text-generation")
    assert other["layers.2.mlp.down_proj.weight"].shape == (48, 90)
    assert other["layers.2.mlp.up_proj.weight"].axes == ("feed_forward", "hidden")
    assert other["layers.0.self_attn.v_proj.weight"].aliases["gguf"].name == "blk.0.attn_v.weight"


def test_what_is_not_clear_is_a_number_with_a_comment(novel, tmp_path):
    project, _ = create("novel", "llama3", uri=str(novel), into=tmp_path)
    text = (project / "src" / "intermodal_novel" / "weights.py").read_text()
    assert "# mlp.strange: 33 is no field of the config." in text
    assert '*linear("mlp.strange", hidden, 33),' in text
    assert '*linear("mlp.router", hidden, config.gate_rank),' in text
    assert "# Blocks differ from each other in these:" in text
    assert '*norm("layers.1.mlp.extra_norm", hidden),' in text
    assert "# self_attn.q_proj in GGUF: intermodal-llama3 has Deinterleave there" in text


def test_fields_of_config_json_are_added_by_their_kind(novel, tmp_path, monkeypatch):
    project, _ = create("novel", "llama3", uri=str(novel), into=tmp_path)
    text = (project / "src" / "intermodal_novel" / "config.py").read_text()
    assert "    # gate_schedule: dict: declare it, or say in `inert_keys` why it changes nothing." in text
    config, report = imported(project, "config", monkeypatch).NovelConfig.from_hf(CONFIG)
    assert (config.use_gate, config.gate_limit, config.gate_rank, config.gate_kind) == (True, 7.5, 6, "soft")
    assert {"use_gate", "gate_limit", "gate_rank", "gate_kind"} <= {*report.consumed}


def test_defaults_are_those_that_transformers_source_states(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    project, _ = create("phi3", "llama3", into=tmp_path)
    config = imported(project, "config", monkeypatch).Phi3Config()
    reference = transformers.Phi3Config()
    for name in ("vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "rms_norm_eps"):
        assert getattr(config, name) == getattr(reference, name), name
    text = (project / "src" / "intermodal_phi3" / "config.py").read_text()
    assert "# transformers' Phi3Config has no mlp_bias: remove it" in text
    assert "has no head_dim" not in text  # its modelling code asks for it


def test_an_index_without_its_files_gives_the_names(novel, tmp_path):
    index = tmp_path / "alone" / "model.safetensors.index.json"
    index.parent.mkdir()
    index.write_text(json.dumps({"weight_map": dict.fromkeys(novel_tensors(), "model-00001-of-00001.safetensors")}))
    shutil.copy(novel / "config.json", index.parent)
    project, places = create("novel", "llama3", uri=str(index), into=tmp_path)
    assert any("mlp.strange" in place and "the index tells names alone" in place for place in places)
    text = (project / "src" / "intermodal_novel" / "weights.py").read_text()
    assert '*linear("self_attn.q_proj", hidden, queries, bias=True, axes=("heads", "hidden"), gguf="attn_q"),' in text


def test_an_index_beside_its_files_gives_shapes_too(novel, tmp_path):
    tensors = dict.fromkeys(novel_tensors(), "model.safetensors")
    (novel / "model.safetensors.index.json").write_text(json.dumps({"weight_map": tensors}))
    project, places = create("novel", "llama3", uri=str(novel / "model.safetensors.index.json"), into=tmp_path)
    assert not any("names alone" in place for place in places)
    assert '*linear("mlp.strange", hidden, 33),' in (project / "src" / "intermodal_novel" / "weights.py").read_text()


def test_a_mark_names_its_file_and_line(tmp_path, monkeypatch):
    project, places = create("novel", "llama3", into=tmp_path)
    module = imported(project, "config", monkeypatch, finished=False)
    with pytest.raises(UnfinishedError) as caught:
        module.NovelConfig()
    path = project / "src" / "intermodal_novel" / "config.py"
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "unfinished(" in text)
    assert f"config.py:{line}: compare fields" in str(caught.value)
    assert any(place.startswith(f"{path}:{line}: ") for place in places)


@pytest.mark.parametrize(
    "name", ["Novel", "1novel", "novel--x", "novel.x", "a b", "../x", "class", "", "x" * 60, "новый"]
)
def test_names_that_no_package_can_have_are_refused(name, tmp_path):
    with pytest.raises(PluginError, match="cannot be the name of a family"):
        create(name, "llama3", into=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_names_that_are_taken_are_refused(novel, tmp_path):
    with pytest.raises(PluginError, match=r"model type 'llama' is read by intermodal-llama3 .* pip uninstall"):
        create("llama", "llama3", into=tmp_path)
    with pytest.raises(PluginError, match="is installed under the name intermodal-llama3"):
        create("llama3", "llama3", uri=str(novel), into=tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(PluginError, match="here exists already; choose another name"):
        create("here", "llama3", into=tmp_path)
    with pytest.raises(IntermodalError, match="No installed plugin handles model type 'no_such_family'"):
        create("novel", "no_such_family", into=tmp_path)


@pytest.mark.parametrize("name", ['model.x"); import os; ("', "model.x\nimport os", "model.é", "m" * 600])
def test_tensor_names_that_could_become_code_are_refused(name, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file({}, folder / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: "elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match="has a tensor named"):
        create("novel", "llama3", uri=str(index), into=tmp_path)
    assert not (tmp_path / "novel").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": 'novel"\nimport os'},
        {"model_type": "x/../y"},
    ],
)
def test_model_types_that_could_become_code_are_refused(config, tmp_path):
    folder = write_checkpoint(tmp_path / "odd", **config)
    with pytest.raises(PluginError, match="which no plugin can claim"):
        create("novel", "llama3", uri=str(folder), into=tmp_path)


def test_odd_keys_and_texts_of_config_json_stay_comments(tmp_path, monkeypatch):
    odd = {"a key\nimport os": 1, "class": True, "kind_of": 'a"b\\c', "other": "x\ny", "ü": 3}
    folder = write_checkpoint(tmp_path / "odd", **odd)
    project, _ = create("novel", "llama3", uri=str(folder), into=tmp_path)
    config, _ = imported(project, "config", monkeypatch).NovelConfig.from_hf({**CONFIG, "kind_of": 'a"b\\c', "ü": 3})
    assert config.kind_of == 'a"b\\c'


def test_gguf_names_are_no_start(tmp_path):
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("intermodal_gguf")
    import numpy as np

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="names its tensors as gguf does"):
        create("novel", "llama3", uri=str(tmp_path / "x.gguf"), into=tmp_path)


def test_the_command_tells_what_is_left_and_imports_no_keras(novel, tmp_path):
    code = (
        "import sys; from intermodal.commands import main; code = main(sys.argv[1:]); "
        "assert not {'keras', 'transformers', 'torch'} & {*sys.modules}; sys.exit(code)"
    )
    command = ["new", "novel", "--like", "llama3", "--from", str(novel), "--into", str(tmp_path / "plugins")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "plugins" / "novel"
    assert f"pip install -e {folder}" in done.stdout
    assert "config.py:" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "pyproject.toml", "src", "tests"]
    assert not [path for path in (tmp_path / "plugins").iterdir() if path.name.startswith(".")]


def test_an_error_of_the_command_is_one_message(tmp_path, capsys):
    assert main(["new", "Wrong Name", "--like", "llama3", "--into", str(tmp_path)]) == 1
    assert "intermodal: error: 'Wrong Name' cannot be the name of a family" in capsys.readouterr().err
