"""Weights that lie beside a params.json: when that layout is read, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from intermodal.checkpoints import open_checkpoint
from intermodal.errors import CheckpointError, ConfigError
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from safetensors.numpy import save_file

ONE, TWO = np.ones((2, 3), np.float32), np.zeros(4, np.float32)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files: dicts of arrays as safetensors, others as JSON."""

    def written(**files: Any) -> Path:
        for name, content in files.items():
            name = name.replace("__", "-").replace("_", ".")
            if name.endswith(".safetensors"):
                save_file(content, tmp_path / name)
            else:
                (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return written


def opened(path: Path) -> Any:
    return open_checkpoint(open_repository(str(path), Access()))


def test_params_json_is_the_metadata_and_names_the_key(write: Write) -> None:
    checkpoint = opened(write(consolidated_safetensors={"a": ONE}, params_json={"dim": 3}))
    assert (checkpoint.format, checkpoint.dialect) == ("safetensors", "consolidated")
    assert checkpoint.family_key == "consolidated.transformer"
    assert (checkpoint.config, checkpoint.metadata) == ({}, {"dim": 3})
    np.testing.assert_array_equal(checkpoint.read("a"), ONE)


def test_a_kind_that_params_json_names(write: Write) -> None:
    folder = write(consolidated_safetensors={"a": ONE}, params_json={"model_type": "mamba"})
    assert opened(folder).family_key == "consolidated.mamba"
    write(params_json={"model_type": None})
    with pytest.raises(ConfigError, match=r"params.json of .* has model_type None"):
        opened(folder)


def test_shards_are_read_by_their_index(write: Write) -> None:
    index = {"a": "consolidated-00001-of-00002.safetensors", "b": "consolidated-00002-of-00002.safetensors"}
    folder = write(
        consolidated__00001__of__00002_safetensors={"a": ONE},
        consolidated__00002__of__00002_safetensors={"b": TWO},
        consolidated_safetensors_index_json={"weight_map": index},
        params_json={},
    )
    checkpoint = opened(folder)
    assert {name: info.file for name, info in checkpoint.tensors.items()} == index
    (folder / "consolidated.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match=r"consolidated-00001-of-00002.safetensors"):
        opened(folder)


def test_hugging_faces_files_win_unless_the_other_is_named(write: Write) -> None:
    folder = write(
        consolidated_safetensors={"a": ONE},
        params_json={},
        model_safetensors={"b": TWO},
        config_json={"model_type": "some_type"},
    )
    checkpoint = opened(folder)
    assert (checkpoint.dialect, checkpoint.family_key, [*checkpoint.tensors]) == ("huggingface", "some_type", ["b"])
    checkpoint = opened(folder / "consolidated.safetensors")
    assert (checkpoint.dialect, [*checkpoint.tensors]) == ("consolidated", ["a"])


def test_the_name_alone_does_not_make_the_layout(write: Write) -> None:
    folder = write(consolidated_safetensors={"a": ONE}, config_json={"model_type": "some_type"})
    with pytest.raises(CheckpointError, match=r"none is named model.safetensors"):
        opened(folder)
    assert opened(folder / "consolidated.safetensors").dialect == "huggingface"


def test_one_set_of_weights_is_needed(write: Write) -> None:
    folder = write(
        consolidated_safetensors={"a": ONE},
        consolidated_safetensors_index_json={"weight_map": {"a": "consolidated.safetensors"}},
        params_json={},
    )
    with pytest.raises(CheckpointError, match=r"Name the one that is meant"):
        opened(folder)
