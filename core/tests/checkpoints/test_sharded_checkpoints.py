"""Sharded checkpoints: the index followed to the letter, and written as transformers and huggingface_hub write it."""

import json
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
import torch
from intermodal.checkpoints import open_checkpoint
from intermodal.checkpoints.write_safetensors import write_sharded
from intermodal.errors import CheckpointError, SourceError
from intermodal.sources import open_repository
from intermodal.sources.base import Access

TENSORS = {f"layer.{index}.weight": np.full((10 + index, 8), index, np.float32) for index in range(6)}
SPECS = [(name, values.dtype.name, values.shape) for name, values in TENSORS.items()]
INDEX = "model.safetensors.index.json"


def opened(folder):
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return open_checkpoint(open_repository(folder, Access()))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_sharded(tmp_path, SPECS, TENSORS.__getitem__, 1000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    return tmp_path


def change_index(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("size", [1, 400, 700, 1000, 1400, 10_000])
def test_shards_are_those_of_huggingface_hub(size, tmp_path):
    names = write_sharded(tmp_path, SPECS, TENSORS.__getitem__, size)
    expected = huggingface_hub.split_torch_state_dict_into_shards(
        {name: torch.from_numpy(values) for name, values in TENSORS.items()}, max_shard_size=size
    )
    assert names == list(expected.filename_to_tensors)
    for file, tensors in expected.filename_to_tensors.items():
        assert set(safetensors.numpy.load_file(tmp_path / file)) == set(tensors)
    if expected.is_sharded:
        index = json.loads((tmp_path / INDEX).read_text())
        assert index["weight_map"] == expected.tensor_to_filename
        assert index["metadata"]["total_size"] == expected.metadata["total_size"]
    else:
        assert not (tmp_path / INDEX).exists()
    checkpoint = opened(tmp_path)
    assert all(np.array_equal(checkpoint.read(name), values) for name, values in TENSORS.items())


def test_reads_what_transformers_writes_and_back(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    (tmp_path / "theirs").mkdir()
    model.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    checkpoint = open_checkpoint(open_repository(tmp_path / "theirs", Access()))
    state = model.state_dict()
    assert checkpoint.family_key == "llama"
    assert (checkpoint.format, checkpoint.dialect, checkpoint.metadata) == (
        "safetensors",
        "huggingface",
        {"format": "pt"},
    )
    assert checkpoint.tensors.keys() == state.keys()
    assert all(np.array_equal(checkpoint.read(name), values.numpy()) for name, values in state.items())

    (tmp_path / "ours").mkdir()
    specs = [(info.name, info.dtype, info.shape) for info in checkpoint.tensors.values()]
    names = write_sharded(tmp_path / "ours", specs, checkpoint.read, 5000)
    assert len(names) > 1
    (tmp_path / "ours" / "config.json").write_text(json.dumps(checkpoint.config))
    again, info = LlamaForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.equal(values, again.state_dict()[name]) for name, values in state.items())


def test_files_beside_the_index_are_not_globbed(sharded):
    safetensors.numpy.save_file({"other": np.zeros(3)}, sharded / "optimizer.safetensors")
    safetensors.numpy.save_file({"other": np.zeros(3)}, sharded / "consolidated.safetensors")
    assert opened(sharded).tensors.keys() == TENSORS.keys()


def test_missing_shard(sharded):
    names = sorted(path.name for path in sharded.glob("*.safetensors"))
    (sharded / names[0]).unlink()
    with pytest.raises(CheckpointError, match=rf"missing: .*{names[0]}"):
        opened(sharded)


def test_missing_index(sharded):
    (sharded / INDEX).unlink()
    with pytest.raises(CheckpointError, match=r"shards .* but not their index"):
        opened(sharded)


@pytest.mark.parametrize(
    "file",
    [
        "../outside.safetensors",
        "/etc/outside.safetensors",
        "sub/../../outside.safetensors",
        "..\\outside.safetensors",
        "a\0b.safetensors",
        "./model.safetensors",
        "C:/model.safetensors",
    ],
)
def test_index_never_leaves_its_folder(sharded, file):
    safetensors.numpy.save_file({"layer.0.weight": TENSORS["layer.0.weight"]}, sharded.parent / "outside.safetensors")
    change_index(sharded, lambda index: index["weight_map"].update({"layer.0.weight": file}))
    with pytest.raises(CheckpointError, match="refused"):
        opened(sharded)


def test_shard_that_is_a_link_out_of_the_folder(sharded):
    outside = sharded.parent / "outside.safetensors"
    first = sorted(sharded.glob("*.safetensors"))[0]
    os.replace(first, outside)
    first.symlink_to(outside)
    with pytest.raises(SourceError, match="not followed"):
        opened(sharded)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda index: index.pop("weight_map"), "no weight_map"),
        (lambda index: index.update(weight_map={}), "no weight_map"),
        (lambda index: index.update(weight_map=["a"]), "no weight_map"),
        (lambda index: index["weight_map"].update({"x": 3}), r"expected a \.safetensors file"),
        (lambda index: index["weight_map"].update({"x": "pytorch_model.bin"}), r"expected a \.safetensors file"),
        (lambda index: index["weight_map"].update({"x": "model-00001-of-00009.safetensors"}), "are missing"),
    ],
)
def test_malformed_index(sharded, change, match):
    change_index(sharded, change)
    with pytest.raises(CheckpointError, match=match):
        opened(sharded)


def test_index_with_a_key_twice(sharded):
    text = (sharded / INDEX).read_text()
    (sharded / INDEX).write_text(
        text.replace('"weight_map": {', '"weight_map": {"layer.0.weight": "x.safetensors",', 1)
    )
    with pytest.raises(CheckpointError, match="stands there twice"):
        opened(sharded)


def test_index_and_shards_that_disagree(sharded):
    files = json.loads((sharded / INDEX).read_text())["weight_map"]
    last = files["layer.5.weight"]

    def lacking(index):
        index["weight_map"]["ghost"] = last

    change_index(sharded, lacking)
    with pytest.raises(CheckpointError, match=rf"{last} .* it lacks ghost"):
        opened(sharded)

    def moved(index):
        del index["weight_map"]["ghost"]
        index["weight_map"]["layer.0.weight"] = last

    change_index(sharded, moved)
    with pytest.raises(CheckpointError, match=r"it lacks layer\.0\.weight|it also holds layer\.0\.weight"):
        opened(sharded)

    def forgotten(index):
        del index["weight_map"]["layer.0.weight"]

    change_index(sharded, forgotten)
    with pytest.raises(CheckpointError, match=r"also holds layer\.0\.weight|missing"):
        opened(sharded)


def test_the_same_tensor_in_two_shards(sharded):
    files = json.loads((sharded / INDEX).read_text())["weight_map"]
    last = sharded / files["layer.5.weight"]
    tensors = {**safetensors.numpy.load_file(last), "layer.0.weight": np.zeros((10, 8), np.float32)}
    safetensors.numpy.save_file(tensors, last)
    with pytest.raises(CheckpointError, match=r"also holds layer\.0\.weight"):
        opened(sharded)


def test_truncated_shard(sharded):
    last = sorted(sharded.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{last.name} .*truncated"):
        opened(sharded)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_failure_while_writing_leaves_the_old_checkpoint(sharded):
    before = {path.name: path.read_bytes() for path in sharded.iterdir()}

    def read(name):
        if name == "layer.5.weight":
            raise KeyboardInterrupt
        return TENSORS[name] + 1

    with pytest.raises(KeyboardInterrupt):
        write_sharded(sharded, SPECS, read, 1000)
    assert {path.name: path.read_bytes() for path in sharded.iterdir()} == before


def test_a_checkpoint_may_be_written_over_itself(sharded):
    checkpoint = opened(sharded)
    view = checkpoint.read("layer.3.weight")
    write_sharded(sharded, SPECS, lambda name: checkpoint.read(name) * 2, 1000)
    assert view[0, 0] == 3
    assert opened(sharded).read("layer.3.weight")[0, 0] == 6


def test_other_weights_are_never_left_beside_new_ones(sharded):
    before = sorted(path.name for path in sharded.iterdir())
    with pytest.raises(CheckpointError, match=r"already holds other weights: model-00001"):
        write_sharded(sharded, SPECS, TENSORS.__getitem__, 10_000)
    assert sorted(path.name for path in sharded.iterdir()) == before


@pytest.mark.parametrize(
    ("specs", "match"),
    [
        ([("a", "float32", (2,)), ("a", "float32", (2,))], "name 'a'"),
        ([("a", "int4", (2,))], "dtype int4"),
        ([("a", "float64", (2,))], r"written as float64 \(2,\), but came as float32 \(2,\)"),
        ([("a", "float32", (3,))], r"written as float32 \(3,\), but came as float32 \(2,\)"),
    ],
)
def test_wrong_specs(specs, match, tmp_path):
    with pytest.raises(CheckpointError, match=match):
        write_sharded(tmp_path, specs, lambda name: np.zeros(2, np.float32))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="Shards of 0 bytes"):
        write_sharded(tmp_path, [], lambda name: np.zeros(2), 0)


def test_values_of_any_memory_layout_and_progress(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    told: list[int] = []
    write_sharded(tmp_path, [("a", "float32", (4, 3))], lambda name: values.T, progress=told.append)
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "model.safetensors")["a"], values.T)
    assert sum(told) == 48
