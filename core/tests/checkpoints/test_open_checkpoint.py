"""Which checkpoint a repository holds, and what is said where that is not clear."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from intermodal.checkpoints import open_checkpoint
from intermodal.checkpoints.base import CheckpointReader
from intermodal.checkpoints.safetensors import SafetensorsReader
from intermodal.checkpoints.write_safetensors import write_sharded
from intermodal.errors import (
    BlockedPluginError,
    CheckpointError,
    ConfigError,
    IntermodalError,
    MissingPluginError,
    SourceError,
    UnsafeCheckpointError,
)
from intermodal.sources import open_repository
from intermodal.sources.base import Access

WEIGHTS = safetensors.numpy.save({"w": np.ones((2, 2), np.float32)})
CONFIG = b'{"model_type": "tiny", "hidden_size": 2, "auto_map": {"AutoModel": "evil.Model"}}'


def folder_of(tmp_path: Path, *names: str, **contents: bytes) -> Path:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONFIG if name == "config.json" else WEIGHTS if name.endswith(".safetensors") else b"x")
    for name, content in contents.items():
        (tmp_path / name.replace("__", ".")).write_bytes(content)
    return tmp_path


def opened(path, reader_for=None, **options):
    return open_checkpoint(open_repository(path, Access()), reader_for, **options)


class OtherReader(CheckpointReader):
    """A plugin's reader of .gguf files that only notes what it was asked."""

    format = "gguf"

    def matches(self, repository):
        return any(name.endswith(".gguf") for name in repository.files())

    def open(self, repository):
        raise IntermodalError(f"opened {repository.selected}")


def other(suffix):
    if suffix == "gguf":
        return OtherReader()
    raise MissingPluginError(f"nothing reads .{suffix}")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors"], "model.safetensors"),
        (["model.safetensors", "other.safetensors", "consolidated.safetensors"], "model.safetensors"),
        (["model.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "x.gguf"], "model.safetensors"),
        (["weights.safetensors"], "weights.safetensors"),
        (["weights.safetensors", "consolidated.safetensors"], "weights.safetensors"),
        (["model.safetensors", "sub/model.safetensors"], "model.safetensors"),
    ],
)
def test_the_file_that_is_meant(names, expected, tmp_path):
    checkpoint = opened(folder_of(tmp_path, "config.json", *names), other)
    assert checkpoint.tensors["w"].file == expected
    assert checkpoint.family_key == "tiny"
    assert checkpoint.config["hidden_size"] == 2
    assert np.array_equal(checkpoint.read("w"), np.ones((2, 2)))


def test_selected_file_decides(tmp_path):
    folder_of(tmp_path, "config.json", "model.safetensors", "other.safetensors", "x.gguf", "model.bin")
    assert opened(tmp_path / "other.safetensors").tensors["w"].file == "other.safetensors"
    with pytest.raises(IntermodalError, match=r"opened x\.gguf"):
        opened(tmp_path / "x.gguf", other)
    with pytest.raises(UnsafeCheckpointError):
        opened(tmp_path / "model.bin", other)
    with pytest.raises(MissingPluginError, match="nothing reads"):
        opened(tmp_path / "config.json", other)


def test_variant(tmp_path):
    folder_of(tmp_path, "config.json", "model.safetensors", "model.fp16.safetensors")
    assert opened(tmp_path).tensors["w"].file == "model.safetensors"
    assert opened(tmp_path, variant="fp16").tensors["w"].file == "model.fp16.safetensors"
    with pytest.raises(CheckpointError, match="no variant 'fp32'"):
        opened(tmp_path, variant="fp32")


def test_sharded_variant(tmp_path):
    folder_of(tmp_path, "config.json", "model.safetensors", "model.fp16-00001-of-00001.safetensors")
    index = {"weight_map": {"w": "model.fp16-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.fp16.json").write_text(json.dumps(index))
    assert opened(tmp_path, variant="fp16").tensors["w"].file == "model.fp16-00001-of-00001.safetensors"


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["adapter_model.safetensors", "adapter_config.json"], "is an adapter"),
        (["a.safetensors", "b.safetensors"], r"a\.safetensors, b\.safetensors, and none is named model\.safetensors"),
        (["consolidated.safetensors"], "none is named"),
        (["model-00001-of-00002.safetensors"], "not their index"),
        (["model.safetensors", "model.safetensors.index.json"], "holds both"),
    ],
)
def test_unclear_folders(names, match, tmp_path):
    with pytest.raises(CheckpointError, match=match):
        opened(folder_of(tmp_path, "config.json", *names))


def test_one_shard_of_several(tmp_path):
    folder_of(tmp_path, "config.json", "model-00001-of-00002.safetensors", "model-00001-of-00001.safetensors")
    with pytest.raises(CheckpointError, match="one of 2 shards"):
        opened(tmp_path / "model-00001-of-00002.safetensors")
    assert "w" in opened(tmp_path / "model-00001-of-00001.safetensors").tensors


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model.pt",
        "model.ckpt",
        "tf_model.h5",
        "flax_model.msgpack",
        "pytorch_model-00001-of-00002.bin",
    ],
)
def test_only_weights_that_run_code(name, tmp_path):
    (tmp_path / "canary.txt").write_text("alive")
    folder_of(tmp_path, "config.json", "training_args.bin", name)
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'rm canary.txt'\ntR.")
    with pytest.raises(
        UnsafeCheckpointError, match=r"spaces/safetensors/convert.*refs/pr/N.*save_pretrained"
    ) as caught:
        opened(tmp_path, other)
    assert name in str(caught.value)
    assert "training_args" not in str(caught.value)
    assert (tmp_path / "canary.txt").exists()


def test_nothing_there(tmp_path):
    folder_of(tmp_path, "config.json", "README.md", "training_args.bin", "optimizer.pt")
    with pytest.raises(
        CheckpointError, match=r"no weights that can be read.*It holds: README\.md, config\.json"
    ) as caught:
        opened(tmp_path, other)
    assert not isinstance(caught.value, UnsafeCheckpointError)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="It holds: no files"):
        opened(tmp_path / "empty")


def test_other_formats(tmp_path):
    folder_of(tmp_path, "config.json", "x.gguf", "pytorch_model.bin")
    with pytest.raises(IntermodalError, match="opened None"):
        opened(tmp_path, other)
    with pytest.raises(MissingPluginError, match="pip install intermodal-gguf"):
        opened(tmp_path)

    def blocked(suffix):
        raise BlockedPluginError(f"{suffix} is blocked")

    with pytest.raises(BlockedPluginError, match="gguf is blocked"):
        opened(tmp_path, blocked)


def test_reader_of_the_plugin_interface(tmp_path):
    reader = SafetensorsReader()
    assert reader.format == "safetensors"
    assert not reader.matches(open_repository(folder_of(tmp_path, "x.gguf"), Access()))
    assert reader.matches(open_repository(folder_of(tmp_path, "config.json", "model.safetensors"), Access()))
    assert "w" in reader.open(open_repository(tmp_path, Access())).tensors


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (b"{}", "model_type None"),
        (b'{"model_type": ""}', "model_type ''"),
        (b'{"model_type": 3}', "model_type 3"),
        (b"[]", "expected a JSON object"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"model_type": "a", "model_type": "b"}', "'model_type' stands there twice"),
        (b'{"model_type": "a", "x": {"y": 1, "y": 2}}', "'y' stands there twice"),
        (b'{"model_type": "a", "x": NaN}', "NaN"),
        (b'{"model_type": "a", "x": -Infinity}', "finite"),
        (b'{"model_type": "a", "x": 1e999}', "1e999"),
        (b'{"model_type": "a", "x": ' + b"[" * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_malformed_config(config, match, tmp_path):
    folder_of(tmp_path, "model.safetensors", config__json=config)
    with pytest.raises(ConfigError, match=match) as caught:
        opened(tmp_path)
    assert "config.json" in str(caught.value)


def test_missing_and_huge_config(tmp_path):
    folder_of(tmp_path, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no config\.json beside its weights"):
        opened(tmp_path)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)  # a sparse file: reading it would take a terabyte
    with pytest.raises(SourceError, match="expected at most 10000000"):
        opened(tmp_path)


# --- remote ----------------------------------------------------------------------------------------------------------


def test_headers_alone_of_a_remote_checkpoint(hub, tmp_path):
    tensors = {f"layer.{index}": np.zeros((300, 300), np.float32) for index in range(12)}
    specs = [(name, values.dtype.name, values.shape) for name, values in tensors.items()]
    names = write_sharded(tmp_path, specs, tensors.__getitem__, 1_500_000)
    hub.add_repo("org/sharded", folder_of(tmp_path, "config.json"))
    checkpoint = opened("hf://org/sharded")
    assert checkpoint.tensors.keys() == tensors.keys()
    assert sum(info.nbytes for info in checkpoint.tensors.values()) == 12 * 360_000
    # One small range of each shard; all else is what the first request of a large file would have brought.
    assert {name: hub.sent(name) for name in names} == dict.fromkeys(names, 128 * 1024)
    assert not list(hub.home.rglob("*.safetensors"))
    checkpoint.prepare()
    asked = len(hub.requests)
    assert np.array_equal(checkpoint.read("layer.3"), tensors["layer.3"])
    assert len(hub.requests) == asked


def test_remote_checkpoint_that_moves_on(hub):
    hub.add_repo("org/name", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    checkpoint = opened("hf://org/name")
    hub.commit("org/name", {"config.json": CONFIG, "model.safetensors": safetensors.numpy.save({"w": np.zeros(9)})})
    assert np.array_equal(checkpoint.read("w"), np.ones((2, 2)))


def test_offline_after_inspecting_says_why(hub):
    hub.add_repo("org/name", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    opened("hf://org/name")
    offline = open_repository("hf://org/name", Access(local_files_only=True))
    with pytest.raises(CheckpointError, match=r"no weights.*only cached files are seen"):
        open_checkpoint(offline)
    opened("hf://org/name").prepare()
    assert open_checkpoint(open_repository("hf://org/name", Access(local_files_only=True))).read("w").shape == (2, 2)


def test_opening_imports_nothing_that_computes(tmp_path):
    folder_of(tmp_path, "config.json", "model.safetensors")
    code = (
        "import sys; from intermodal.checkpoints import open_checkpoint\n"
        "from intermodal.sources import open_repository\n"
        "from intermodal.sources.base import Access\n"
        "assert 'w' in open_checkpoint(open_repository(sys.argv[1], Access())).tensors\n"
        "heavy = {'numpy', 'ml_dtypes', 'keras', 'torch', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
