"""DistilBERT checkpoints as people use them: pipelines, sentence vectors, other names of fields, training."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, InputError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference
from intermodal.testing.training import assert_new_head_learns
from intermodal_distilbert.config import DistilBertConfig

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "cat", "dog", "sat", "was", "fine"]
VOCABULARY = [*WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
TINY = {
    "vocab_size": len(VOCABULARY),
    "dim": 48,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 80,
    "max_position_embeddings": 40,
}
TEXTS = ["The cat sat.", "A dog was fine, and the cat was not", "x"]
IDS = np.random.default_rng(5).integers(5, 60, (4, 12)).astype("int32")


def checkpoint(folder, architecture, **fields):
    """A small model with its tokenizer, as transformers saves them."""
    from transformers import DistilBertTokenizer

    save_reference(make_reference(architecture, {**TINY, **fields}), folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    DistilBertTokenizer.from_pretrained(folder, model_max_length=40).save_pretrained(folder)
    return folder


def scores(results):
    return {each.get("label", each.get("token_str")): pytest.approx(each["score"], abs=1e-4) for each in results}


def test_pipelines_are_those_of_transformers(tmp_path):
    import transformers

    labels = {0: "NEGATIVE", 1: "POSITIVE"}
    names = {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}
    sentiment = checkpoint(tmp_path / "sentiment", "DistilBertForSequenceClassification", **names)
    ours, theirs = (
        make("text-classification", str(sentiment)) for make in (intermodal.pipeline, transformers.pipeline)
    )
    for got, expected in zip(ours(TEXTS, top_k=None, batch_size=2), theirs(TEXTS, top_k=None), strict=True):
        assert scores(got) == scores(expected)
    masked = checkpoint(tmp_path / "masked", "DistilBertForMaskedLM")
    ours, theirs = (make("fill-mask", str(masked)) for make in (intermodal.pipeline, transformers.pipeline))
    assert scores(ours("the [MASK] sat.")) == scores(theirs("the [MASK] sat."))


def test_sentence_vectors_are_those_of_sentence_transformers(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.models")
    folder = checkpoint(tmp_path / "encoder", "DistilBertModel")
    word = modules.Transformer(str(folder))
    made = library.SentenceTransformer(modules=[word, modules.Pooling(48, "mean")], device="cpu")
    made.save(str(tmp_path / "sentences"))
    model = intermodal.load(tmp_path / "sentences")
    assert model.task == "sentence-similarity"
    np.testing.assert_allclose(model.embed(TEXTS), made.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    "names", [{"dim": "hidden_size"}, {"n_heads": "num_attention_heads", "n_layers": "num_hidden_layers"}]
)
def test_fields_have_other_names(names, tmp_path):
    """As transformers reads them; and what is written has one name for each."""
    from transformers import DistilBertConfig as Theirs

    raw = {"model_type": "distilbert", **{names.get(key, key): value for key, value in TINY.items()}}
    expected, config = Theirs.from_dict(dict(raw)), DistilBertConfig.from_hf(raw)[0]
    assert [config.dim, config.n_heads, config.n_layers] == [expected.dim, expected.n_heads, expected.n_layers]
    written = config.to_hf()
    assert {key: written[key] for key in names} == {key: TINY[key] for key in names}
    assert not set(names.values()) & set(written)
    folder = save_reference(make_reference("DistilBertModel", TINY), tmp_path)
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({names.get(key, key): value for key, value in saved.items()}))
    assert intermodal.load(folder)(IDS)["last_hidden_state"].shape == (4, 12, 48)
    for key, other in names.items():
        assert DistilBertConfig.from_hf({**raw, key: TINY[key]})[0] == config
        with pytest.raises(ConfigError, match=f"{other} = {TINY[key]}: {key} = {2 * TINY[key]} is the same field"):
            DistilBertConfig.from_hf({**raw, key: 2 * TINY[key]})


def test_token_types_change_nothing_and_positions_can_be_given(tmp_path):
    reference = make_reference("DistilBertModel", TINY)
    model = intermodal.load(save_reference(reference, tmp_path))
    positions = np.broadcast_to(np.arange(11, -1, -1, dtype="int32"), (4, 12))
    expected = reference_outputs(reference, input_ids=IDS, position_ids=positions)["last_hidden_state"]
    got = model(input_ids=IDS, position_ids=positions, token_type_ids=np.ones_like(IDS))
    assert_close(got.last_hidden_state, expected)
    with pytest.raises(InputError, match="41 tokens, and the model has positions for 40"):
        model(np.ones((1, 41), "int32"))


@pytest.mark.backend
def test_fit_learns_a_new_classifier(tmp_path):
    folder = save_reference(make_reference("DistilBertForMaskedLM", TINY), tmp_path)
    assert_new_head_learns(folder, "text-classification", {"input_ids": IDS}, np.array([0, 1, 2, 1]))
