"""Every way of the bytes into the variables: right values, a source that `fit` leaves alone, and little memory."""

import hashlib
import json
import shutil
import string
import subprocess
import sys

import gguf
import intermodal
import keras
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from intermodal.dtypes import numpy_dtype
from intermodal.examination import examine
from intermodal.plugins import Plugins
from intermodal.testing.reference import make_reference, save_reference
from intermodal.weights.memory import from_backend
from safetensors import safe_open

pytestmark = pytest.mark.backend

TINY = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
IDS = np.random.default_rng(9).integers(3, 96, (2, 11)).astype("int32")
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as transformers writes it: tensors lie where the header ends."""
    return save_reference(make_reference("LlamaForCausalLM", TINY), tmp_path_factory.mktemp("published") / "model")


def shifted(folder, target, by):
    """The same checkpoint with a header that puts the tensors at `by` modulo 64."""
    target.mkdir()
    (target / "config.json").write_bytes((folder / "config.json").read_bytes())
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].rstrip()
    header += b" " * ((by - 8 - len(header)) % 64)
    (target / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    return target


def gguf_file(folder, path, kind, fields=TINY):
    """Its tensors under llama.cpp's names, linears as `kind`. Query and key rows keep their order: another model."""
    values = safetensors.numpy.load_file(folder / "model.safetensors")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(fields["hidden_size"])
    writer.add_feed_forward_length(fields["intermediate_size"])
    writer.add_block_count(fields["num_hidden_layers"])
    writer.add_head_count(fields["num_attention_heads"])
    writer.add_head_count_kv(fields["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(fields["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, fields["num_hidden_layers"])
    for name, tensor in values.items():
        ours = names.get_name(name, (".weight",))
        if tensor.ndim > 1 and kind != gguf.GGMLQuantizationType.F32:
            writer.add_tensor(ours, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(ours, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(params=["published", "aligned", "odd", "narrow", "shards", "gguf", "gguf q8_0", "package"])
def way(request, published, tmp_path, monkeypatch):
    """A URI, the dtype to load it in, and the folder or file that must stay as it is."""
    target = tmp_path / "model"
    match request.param:
        case "aligned":
            return shifted(published, target, 0), "auto", target
        case "odd":
            return shifted(published, target, 8), "auto", target
        case "narrow":
            return published, "bfloat16", published
        case "shards":
            intermodal.convert(published, target, max_shard_size="40KB", progress=False)
            assert len(list(target.glob("*.safetensors"))) > 2
            return target, "auto", target
        case "gguf":
            path = gguf_file(published, tmp_path / "model.gguf", gguf.GGMLQuantizationType.F32)
            return path, "auto", path
        case "gguf q8_0":
            path = gguf_file(published, tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q8_0)
            return path, "float32", path
        case "package":
            package = tmp_path / "a_package_with_weights"
            package.mkdir()
            (package / "__init__.py").touch()
            path = gguf_file(published, package / "model.gguf", gguf.GGMLQuantizationType.F32)
            monkeypatch.syspath_prepend(tmp_path)
            return "pkg://a_package_with_weights/model.gguf", "auto", path
    return published, "auto", published


def digest(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


def stored_embedding(path):
    """The embedding by the readers of others."""
    if path.is_file():
        (tensor,) = (t for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    for file in path.glob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            if EMBEDDING in opened.keys():  # noqa: SIM118 - it is no dict
                return opened.get_tensor(EMBEDDING)
    raise AssertionError(f"{path} has no embedding")


def test_fit_changes_the_model_and_never_its_source(way):
    uri, dtype, source = way
    before, expected = digest(source), stored_embedding(source)
    model = intermodal.load(uri, dtype=dtype, progress=False)
    variable = model.backbone.by_name["embed_tokens.weight"]
    loaded = from_backend(variable.value).copy()
    np.testing.assert_array_equal(loaded, expected.astype(numpy_dtype("float32" if dtype == "auto" else dtype)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    model.fit({"input_ids": IDS}, np.roll(IDS, -1, axis=1), epochs=1, batch_size=2, verbose=0)
    assert not np.array_equal(from_backend(variable.value), loaded), "fit trained nothing"
    del model, variable
    assert digest(source) == before


def test_predict_and_evaluate_leave_weights_where_they_were_loaded(published, tmp_path):
    """What is mapped stays mapped: a step that took the weights and gave them back would copy the model."""
    model = intermodal.load(shifted(published, tmp_path / "model", 0), progress=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss, metrics=["sparse_categorical_accuracy"])
    labels = np.roll(IDS, -1, axis=1)

    def places():
        """Addresses. Of what a sparse gradient was applied to, TensorFlow gives a new copy at each reading."""
        twice = [(from_backend(variable.value), from_backend(variable.value)) for variable in model.variables]
        found = [one.ctypes.data for one, other in twice if one.ctypes.data == other.ctypes.data]
        assert len(found) >= len(twice) - 1
        return found

    def by_hand():
        logits = keras.ops.convert_to_numpy(model({"input_ids": IDS}))
        right = (logits.argmax(-1) == labels).mean()
        return logits, [float(keras.ops.mean(loss(labels, logits))), right]

    before = places()
    for _ in range(2):  # and again after training, which does replace them
        logits, measured = by_hand()
        np.testing.assert_allclose(model.predict({"input_ids": IDS}, batch_size=1, verbose=0), logits, atol=1e-5)
        np.testing.assert_allclose(model.predict_on_batch({"input_ids": IDS}), logits, atol=1e-5)
        found = model.evaluate({"input_ids": IDS}, labels, batch_size=1, verbose=0)
        np.testing.assert_allclose(found, measured, rtol=1e-5)
        np.testing.assert_allclose(model.test_on_batch({"input_ids": IDS}, labels), measured, rtol=1e-5)
        assert places() == before
        model.fit({"input_ids": IDS}, labels, batch_size=2, verbose=0)
        assert not np.allclose(by_hand()[0], logits)
        before = places()


def test_a_checkpoint_is_examined_with_one_weight_map(published, monkeypatch):
    """Maps of a large model take longer than its headers, and other tasks' are of no interest to what fits."""
    asked = []
    ask = Plugins.weight_map

    def weight_map(plugins, loaded, config, task):
        asked.append(task)
        return ask(plugins, loaded, config, task)

    monkeypatch.setattr(Plugins, "weight_map", weight_map)
    examined = examine(str(published))
    assert asked == [examined.task] == ["text-generation"]
    asked.clear()
    assert set(examine(str(published), "feature-extraction").plan.ignored) == {"lm_head.weight"}
    assert len(asked) > 1, "a head without a place is looked for in the other tasks' maps"


MEASURE = """
import ctypes, gc, json, pathlib, sys
import keras, intermodal, intermodal.examination, intermodal.tasks.causal_lm, tokenizers

def now(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

def settled():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return now("VmRSS")

found = []
before = settled()
kept = tokenizers.Tokenizer.from_file(sys.argv[2])
tokenizer = settled() - before
for uri, dtype in json.loads(sys.argv[1]):
    before = settled()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    model = intermodal.load(uri, dtype=dtype, progress=False)
    for variable in model.variables:
        getattr(variable.value, "block_until_ready", lambda: None)()
    found.append(now("VmHWM") - before)
    del model, variable
found = found[2:]  # the first two were for what is imported and allocated once, for either format
print(json.dumps([tokenizer, *found]))
"""


def large_tokenizer(path):
    """A vocabulary of 50,000, as published ones have; to parse it takes more memory than it keeps."""
    letters = string.ascii_lowercase
    pairs = [(first, second) for first in letters for second in letters]
    threes = [(first + second, third) for first, second in pairs for third in letters]
    merges = [*pairs, *threes, *((first + second, third) for first, second in threes for third in letters[:2])]
    vocabulary = {token: index for index, token in enumerate([*letters, *map("".join, merges)])}
    tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges)).save(str(path))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_peak_memory_is_the_model_and_one_tensor(tmp_path, published):
    """A 96 MB model by every way, in one process: what is mapped takes less, and nothing takes more."""
    fields = {**TINY, "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4}
    folder = save_reference(make_reference("LlamaForCausalLM", fields), tmp_path / "large")
    (folder / "generation_config.json").unlink()
    nbytes = (folder / "model.safetensors").stat().st_size
    one_tensor = 8192 * 512 * 4
    intermodal.convert(folder, tmp_path / "shards", max_shard_size="20MB", progress=False)
    odd = shifted(folder, tmp_path / "odd", 8)
    packed = gguf_file(folder, tmp_path / "packed.gguf", gguf.GGMLQuantizationType.Q8_0, fields)
    ways = [(odd, "auto"), (tmp_path / "shards", "auto"), (odd, "bfloat16"), (packed, "float32")]
    ways = [(published, "auto"), (packed, "float32"), *ways]
    shutil.copytree(odd, tmp_path / "spoken")
    words = large_tokenizer(tmp_path / "spoken" / "tokenizer.json")
    ways.append((tmp_path / "spoken", "auto"))
    command = [sys.executable, "-c", MEASURE, json.dumps([(str(uri), dtype) for uri, dtype in ways]), str(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tokenizer, whole, shards, narrow, dequantised, spoken = json.loads(done.stdout.splitlines()[-1])
    assert whole <= 1.05 * nbytes
    assert shards <= 1.05 * nbytes
    assert narrow <= 1.05 * nbytes / 2 + one_tensor
    assert dequantised <= 1.05 * nbytes + one_tensor
    assert spoken <= 1.05 * nbytes + tokenizer, "what parsing the tokenizer took is given back before the last weights"
