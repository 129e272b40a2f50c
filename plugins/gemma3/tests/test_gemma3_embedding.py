"""EmbeddingGemma: sentence vectors of a model that looks both ways, against sentence-transformers itself."""

import json
import shutil
import warnings

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import CheckpointError, ConfigError, WeightError
from intermodal.testing.reference import make_reference, save_reference

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers", reason="the reference is the library sentence-transformers")

pytestmark = pytest.mark.backend

TEXTS = ["a b c", "d", "", " e f g  h i j k l m n o p", "abc " * 30]
PROMPTS = {"query": "ask: ", "document": ""}
IDENTITY = torch.nn.Identity


def dense(inputs, outputs, bias=False, activation=IDENTITY):
    return {"in_features": inputs, "out_features": outputs, "bias": bias, "activation_function": activation()}


LAYOUTS = {
    "of EmbeddingGemma": ("mean", [dense(48, 80), dense(80, 48)], True),
    "its defaults": ("cls", [dense(48, 20, True, torch.nn.Tanh)], False),
    "of two ways of pooling": (
        ["lasttoken", "max"],
        [
            dense(96, 30, True, torch.nn.GELU),
            dense(30, 40, False, torch.nn.SiLU),
            dense(40, 30, True, torch.nn.ReLU),
            dense(30, 7, True, torch.nn.Sigmoid),
        ],
        True,
    ),
}


def save_tokenizer(folder, size):
    """A small tokenizer that puts one token before each text and one behind it, as Gemma's does when it embeds."""
    import tokenizers
    import transformers

    letters = ["<pad>", "<bos>", "<eos>", "<unk>", *map(chr, range(32, 32 + size - 4))]
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({c: i for i, c in enumerate(letters)}, unk_token="<unk>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    special = [("<bos>", 1), ("<eos>", 2)]
    core.post_processor = tokenizers.processors.TemplateProcessing("<bos> $A <eos>", special_tokens=special)
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **names).save_pretrained(folder)


def make(tiny, folder, layout="of EmbeddingGemma"):
    """A folder as sentence-transformers saves it, and that library's own model of it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    pooling, linears, normalize = LAYOUTS[layout]
    model = make_reference("Gemma3TextModel", {**tiny, "use_bidirectional_attention": True, "sliding_window": 8})
    save_reference(model, folder / "model")
    save_tokenizer(folder / "model", tiny["vocab_size"])
    modules = [
        Transformer(str(folder / "model")),
        Pooling(48, pooling),
        *(Dense(**linear) for linear in linears),
        *([Normalize()] if normalize else []),
    ]
    SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu").save(str(folder / "saved"))
    return folder / "saved"


def encode(folder, texts=TEXTS, **options):
    """What sentence-transformers makes of a folder."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(texts, **options)


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """A folder of EmbeddingGemma's layout; tests that change it take a copy."""
    return make(tiny, tmp_path_factory.mktemp("saved"))


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def close(got, wanted):
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_those_of_sentence_transformers(layout, tiny, tmp_path):
    folder = make(tiny, tmp_path, layout)
    model = intermodal.load(folder)
    assert model.task == "sentence-similarity"
    close(model.embed(TEXTS, batch_size=2), encode(folder))
    close(model.embed(TEXTS, prompt_name="query"), encode(folder, prompt_name="query"))
    model.save_pretrained(tmp_path / "written")
    close(encode(tmp_path / "written", prompt_name="query"), encode(folder, prompt_name="query"))


def test_dense_weights_are_reported_and_written_bit_for_bit(saved, tmp_path):
    from safetensors.numpy import load_file

    model = intermodal.load(saved)
    (entry,) = model.report.loaded["2_Dense.linear.weight"]
    assert (entry["tensor"], entry["file"]) == ("2_Dense.linear.weight", "2_Dense/model.safetensors")
    assert "3_Dense/model.safetensors" in model.report.files
    assert "3_Dense/model.safetensors" in intermodal.inspect(saved).files
    model.save_pretrained(tmp_path / "saved")
    intermodal.convert(saved, tmp_path / "converted")
    for name in ("model.safetensors", "2_Dense/model.safetensors", "3_Dense/model.safetensors"):
        original = load_file(saved / name)
        for written in (load_file(tmp_path / "saved" / name), load_file(tmp_path / "converted" / name)):
            assert written.keys() == original.keys()
            for key, values in original.items():
                np.testing.assert_array_equal(written[key], values)


def test_as_a_keras_model(saved, tmp_path):
    model = intermodal.load(saved)
    wanted = model.embed(TEXTS, prompt_name="query")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.sentences == model.sentences
    close(again.embed(TEXTS, prompt_name="query"), wanted)

    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="cosine_similarity")
    ids = np.array([[1, 70, 71, 2], [1, 80, 81, 2]], "int32")
    goal = np.eye(2, 48, dtype="float32")
    first = model.evaluate(ids, goal, verbose=0)
    model.fit(ids, goal, epochs=8, verbose=0)
    assert model.evaluate(ids, goal, verbose=0) < first - 0.1

    again.quantize("int8")
    assert (again.embed(TEXTS, prompt_name="query") * wanted).sum(1).min() > 0.99


def test_other_tasks_leave_the_dense_layers_alone(saved):
    model = intermodal.load(saved, "feature-extraction")
    assert model.head is None
    assert not any("Dense" in name for name in model.report.files)


def edited(folder, name, **changes):
    path = folder / name
    values = {key: value for key, value in {**json.loads(path.read_text()), **changes}.items() if value is not ...}
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "torch.nn.modules.activation.LeakyReLU"}, "activation_function is .*LeakyReLU"),
        ({"activation_function": "my_code.Tanh"}, r"activation_function is my_code\.Tanh"),
        ({"activation_function": None}, "activation_function is None"),
        ({"use_residual": True}, "use_residual = True is not supported"),
        ({"module_input_name": "token_embeddings"}, "module_input_name = token_embeddings"),
        ({"out_features": 0}, "out_features is 0"),
        ({"in_features": ...}, "in_features is None"),
        ({"in_features": 96}, "2_Dense takes in_features = 96, but gets 48"),
        ({"out_features": 81}, "3_Dense takes in_features = 80, but gets 81"),
        ({"bias": "yes"}, "bias is yes"),
    ],
)
def test_what_a_dense_module_cannot_be_is_refused_by_name(changes, message, folder):
    edited(folder, "2_Dense/config.json", **changes)
    with pytest.raises(ConfigError, match=message):
        intermodal.load(folder)


def test_weights_that_do_not_fit_are_refused_by_name(folder):
    edited(folder, "2_Dense/config.json", bias=True)
    with pytest.raises(WeightError, match=r"missing \(1\): 2_Dense.linear.bias \(80,\)"):
        intermodal.load(folder)
    edited(folder, "2_Dense/config.json", bias=False)
    shutil.copy(folder / "2_Dense/model.safetensors", folder / "3_Dense/model.safetensors")
    with pytest.raises(WeightError, match=r"3_Dense.linear.weight in 3_Dense/model.safetensors: shape \(80, 48\)"):
        intermodal.load(folder)
    (folder / "3_Dense/model.safetensors").rename(folder / "3_Dense/pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no 3_Dense/model\.safetensors"):
        intermodal.load(folder)


# --- GGUF -------------------------------------------------------------------------------------------------------------


def write_gguf(folder, path, *, linears=True, **changes):
    """The file that llama.cpp's converter writes of a folder, by the `gguf` package."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    arch, layers = "gemma-embedding", config["num_hidden_layers"]
    writer = gguf.GGUFWriter(path, arch)
    values = {
        f"{arch}.block_count": layers,
        f"{arch}.context_length": config["max_position_embeddings"],
        f"{arch}.embedding_length": config["hidden_size"],
        f"{arch}.feed_forward_length": config["intermediate_size"],
        f"{arch}.attention.head_count": config["num_attention_heads"],
        f"{arch}.attention.head_count_kv": config["num_key_value_heads"],
        f"{arch}.attention.key_length": config["head_dim"],
        f"{arch}.attention.value_length": config["head_dim"],
        f"{arch}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{arch}.attention.sliding_window": config["sliding_window"],
        f"{arch}.attention.sliding_window_pattern": 2,
        f"{arch}.rope.freq_base": 1e6,
        f"{arch}.pooling_type": 1,
    }
    if linears:
        for number, (inputs, outputs) in enumerate([(48, 80), (80, 48)], 2):
            values |= {f"{arch}.dense_{number}_feat_in": inputs, f"{arch}.dense_{number}_feat_out": outputs}
    for key, value in (values | {f"{arch}.{key}": value for key, value in changes.items()}).items():
        {int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}[type(value)](key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA_EMBEDDING, layers)
    for name, array in load_file(folder / "model.safetensors").items():
        array = array + np.float32(1) if name.endswith("norm.weight") else array
        name = names.get_name(f"model.{name}", try_suffixes=(".weight",))
        writer.add_tensor(name, np.ascontiguousarray(array))
    for number in (2, 3) if linears else ():
        writer.add_tensor(
            f"{gguf.TENSOR_NAMES[gguf.MODEL_TENSOR[f'DENSE_{number}_OUT']]}.weight",
            load_file(folder / f"{number}_Dense/model.safetensors")["linear.weight"],
        )
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


@pytest.fixture(scope="module")
def original(tiny, tmp_path_factory):
    """A model such as GGUF files can hold: its queries are scaled by the width of a head."""
    return make({**tiny, "query_pre_attn_scalar": tiny["head_dim"]}, tmp_path_factory.mktemp("original"))


IDS = np.array([[1, 40, 41, 42, 60, 61, 62, 63, 2], [1, 50, 51, 2, 0, 0, 0, 0, 0]], "int32")


def vectors(model):
    return keras.ops.convert_to_numpy(model({"input_ids": IDS, "attention_mask": (IDS != 0).astype("int32")}))


def test_a_gguf_file_gives_the_same_vectors(original, tmp_path):
    pytest.importorskip("intermodal_gguf")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = intermodal.load(write_gguf(original, tmp_path / "model.gguf"))
    assert model.task == "sentence-similarity"
    wanted = vectors(intermodal.load(original))
    close(vectors(model), wanted)
    assert model.report.loaded["3_Dense.linear.weight"][0]["tensor"] == "dense_3.weight"
    model.save_pretrained(tmp_path / "written")
    close(vectors(intermodal.load(tmp_path / "written")), wanted)
    tokens = intermodal.load(tmp_path / "model.gguf", "feature-extraction")
    assert set(tokens.report.ignored) == {"dense_2.weight", "dense_3.weight"}


def test_a_gguf_file_without_dense_layers_says_so(original, tmp_path):
    pytest.importorskip("intermodal_gguf")
    path = write_gguf(original, tmp_path / "model.gguf", linears=False)
    with pytest.warns(UserWarning, match="holds no dense_2 and dense_3"):
        model = intermodal.load(path)
    hidden = keras.ops.convert_to_numpy(intermodal.load(original, "feature-extraction")(IDS[:1])["last_hidden_state"])
    mean = hidden.mean(1)
    close(vectors(model)[:1], mean / np.linalg.norm(mean))


def test_the_files_of_sentence_transformers_beside_a_gguf_file_count(original, tmp_path):
    pytest.importorskip("intermodal_gguf")
    (tmp_path / "mixed").mkdir()
    for name in ("modules.json", "config_sentence_transformers.json", "1_Pooling", "2_Dense", "3_Dense"):
        (shutil.copytree if (original / name).is_dir() else shutil.copy)(original / name, tmp_path / "mixed" / name)
    path = write_gguf(original, tmp_path / "mixed" / "model.gguf", linears=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = intermodal.load(path)
    assert dict(model.sentences.prompts) == PROMPTS
    close(vectors(model), vectors(intermodal.load(original)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling_type": 4}, "pooling_type"),
        ({"attention.causal": True}, "attention.causal"),
        ({"dense_2_feat_out": 81}, "dense_2_feat_in and _out are"),
        ({"some_new_key": 1}, "some_new_key"),
    ],
)
def test_what_a_gguf_file_cannot_say_is_refused_by_name(changes, message, original, tmp_path):
    pytest.importorskip("intermodal_gguf")
    with pytest.raises(ConfigError, match=message):
        intermodal.load(write_gguf(original, tmp_path / "model.gguf", **changes))
