"""Split checkpoints, written by the gguf package: found, checked, read as one."""

import shutil

import gguf
import numpy as np
import pytest
from intermodal.errors import CheckpointError

NAMES = [f"model-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
TENSORS = {f"blk.{index}.w": np.full((4, 8), index, np.float32) for index in range(6)}


@pytest.fixture
def folder(tmp_path):
    """Six tensors in three parts."""
    folder = tmp_path / "split"
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=2)
    writer.add_string("general.name", "in parts")
    for name, value in TENSORS.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    return folder


@pytest.mark.parametrize("chosen", ["", *NAMES])
def test_all_parts_make_one_checkpoint_whichever_is_named(folder, open_gguf, chosen):
    checkpoint = open_gguf(folder / chosen)
    assert checkpoint.metadata["general.name"] == "in parts"
    assert checkpoint.metadata["split.no"] == 0
    assert [info.file for info in checkpoint.tensors.values()] == [NAMES[0]] * 2 + [NAMES[1]] * 2 + [NAMES[2]] * 2
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)


def test_a_missing_part_is_named(folder, open_gguf):
    (folder / NAMES[1]).unlink()
    with pytest.raises(CheckpointError, match=f"1 of 3 parts are missing: {NAMES[1]}"):
        open_gguf(folder)


def test_a_missing_first_part_is_named(folder, open_gguf):
    (folder / NAMES[0]).unlink()
    with pytest.raises(CheckpointError, match=NAMES[0]):
        open_gguf(folder)


def test_a_part_in_the_place_of_another_is_refused(folder, open_gguf):
    shutil.copy(folder / NAMES[2], folder / NAMES[1])
    with pytest.raises(CheckpointError, match=r"split\.no = 2, expected 1"):
        open_gguf(folder)


def test_a_part_without_its_name_is_refused(folder, open_gguf):
    (folder / NAMES[0]).rename(folder / "model.gguf")
    with pytest.raises(CheckpointError, match=r"one of 3 parts .*-00001-of-00003"):
        open_gguf(folder / "model.gguf")


def test_a_part_of_another_checkpoint_is_refused(folder, open_gguf, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    writer = gguf.GGUFWriter(other / "model.gguf", "llama", split_max_tensors=1)
    for index in range(3):
        writer.add_tensor(f"other.{index}", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copy(other / NAMES[1], folder / NAMES[1])
    with pytest.raises(CheckpointError, match=r"hold 5 tensors together, but .* announces 6"):
        open_gguf(folder)


def test_a_tensor_in_two_parts_is_refused(folder, open_gguf):
    data = (folder / NAMES[1]).read_bytes()
    assert data.count(b"blk.2.w") == 1
    (folder / NAMES[1]).write_bytes(data.replace(b"blk.2.w", b"blk.0.w"))
    with pytest.raises(CheckpointError, match=r"'blk\.0\.w' is in both"):
        open_gguf(folder)


def test_a_folder_with_several_checkpoints_asks_which(tmp_path, write_gguf, open_gguf):
    first, second = write_gguf(name="a.Q4_K.gguf"), write_gguf(name="b.Q8_0.gguf")
    with pytest.raises(CheckpointError, match=r"2 GGUF checkpoints[\s\S]*a\.Q4_K\.gguf[\s\S]*b\.Q8_0\.gguf"):
        open_gguf(tmp_path)
    assert open_gguf(first).repository.selected == "a.Q4_K.gguf"
    second.unlink()
    assert open_gguf(tmp_path).family_key == "gguf.llama"
