"""BERT checkpoints as they are found: prefixes, older names, no pooler, other tasks, defects; and written back."""

import intermodal
import numpy as np
import pytest
from intermodal.errors import MissingPluginError, TaskError, WeightError
from intermodal.testing.reference import (
    assert_close,
    edit_checkpoint,
    make_reference,
    reference_outputs,
    save_reference,
    tensor_bytes,
)

IDS = np.random.default_rng(5).integers(3, 99, (2, 17)).astype("int32")
POOLER = ["pooler.dense.weight", "pooler.dense.bias"]


@pytest.fixture(scope="module")
def reference(tiny):
    return make_reference("BertForPreTraining", tiny)


@pytest.fixture(scope="module")
def expected(reference):
    return reference_outputs(reference, input_ids=IDS)


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "checkpoint")


def check(model, expected):
    got = model(IDS)
    for name in ("prediction_logits", "seq_relationship_logits"):
        assert_close(got[name], expected[name])


def test_gamma_and_beta_are_names_of_single_tensors(folder, expected):
    def older(tensors):
        names = {
            "bert.embeddings.LayerNorm.weight": "bert.embeddings.LayerNorm.gamma",
            "bert.encoder.layer.1.output.LayerNorm.bias": "bert.encoder.layer.1.output.LayerNorm.beta",
            "cls.predictions.transform.LayerNorm.weight": "cls.predictions.transform.LayerNorm.gamma",
        }
        return {names.get(name, name): values for name, values in tensors.items()}

    check(intermodal.load(edit_checkpoint(folder, older)), expected)


def test_the_layout_of_googles_own_files(folder, reference):
    """All of it at once: every norm by its older name, buffers, a tied copy, heads that the config does not name."""

    def google(tensors):
        older = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): values
            for name, values in tensors.items()
        }
        older["bert.embeddings.position_ids"] = np.arange(40)[None]
        older["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        return older

    edit_checkpoint(
        folder, google, architectures=["BertForMaskedLM"], position_embedding_type="absolute", pooler_type="first"
    )
    model = intermodal.load(folder)
    assert model.task == "fill-mask"
    assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["prediction_logits"])
    assert model.report.ignored == {
        "bert.embeddings.position_ids": "they count from 0",
        "bert.pooler.dense.weight": "the pooler, which this task does not use",
        "bert.pooler.dense.bias": "the pooler, which this task does not use",
        "cls.seq_relationship.weight": "the head of another task",
        "cls.seq_relationship.bias": "the head of another task",
    }
    backbone = intermodal.load(folder, task="feature-extraction")
    assert backbone.report.left_out == []
    assert_close(backbone(IDS)["pooler_output"], reference_outputs(reference.bert, input_ids=IDS)["pooler_output"])
    follows = intermodal.load(folder, task="next-sentence-prediction")
    assert follows.report.new == []
    assert_close(follows(IDS), reference_outputs(reference, input_ids=IDS)["seq_relationship_logits"])


def test_each_part_of_pretraining_has_its_trained_head(folder, expected):
    words = intermodal.load(folder, task="fill-mask")
    assert_close(words(IDS), expected["prediction_logits"])
    follows = intermodal.load(folder, task="next-sentence-prediction")
    assert_close(follows(IDS), expected["seq_relationship_logits"])
    assert words.report.new == follows.report.new == []


def test_architectures_absent(folder, tiny, tmp_path, expected):
    with pytest.warns(UserWarning, match="names no architectures"):
        check(intermodal.load(edit_checkpoint(folder, architectures=None)), expected)
    with pytest.warns(UserWarning, match="classifier.weight is NEW|classifier.weight, classifier.bias is NEW"):
        intermodal.load(folder, task="text-classification")
    classifier = make_reference("BertForSequenceClassification", tiny)
    other = edit_checkpoint(save_reference(classifier, tmp_path / "classifier"), architectures=None)
    with pytest.raises(TaskError, match=r"may be for text-classification or token-classification or multiple-choice"):
        intermodal.load(other)
    wanted = reference_outputs(classifier, input_ids=IDS)["logits"]
    assert_close(intermodal.load(other, task="text-classification")(IDS), wanted)
    bare = edit_checkpoint(save_reference(make_reference("BertModel", tiny), tmp_path / "bare"), architectures=None)
    with pytest.warns(UserWarning, match="loaded as the backbone alone.$"):
        assert intermodal.load(bare).task == "feature-extraction"


def test_an_encoder_without_pooler(tiny, tmp_path):
    reference = make_reference("BertForMaskedLM", tiny)
    folder = edit_checkpoint(save_reference(reference, tmp_path), architectures=["BertModel"])
    model = intermodal.load(folder)
    got = model(IDS)
    assert list(got) == ["last_hidden_state"]
    assert_close(got["last_hidden_state"], reference_outputs(reference.bert, input_ids=IDS)["last_hidden_state"])
    assert model.report.left_out == POOLER
    assert "Not in the checkpoint, and not in the model: pooler.dense.weight" in str(model.report)


def test_half_a_pooler_is_refused(folder):
    def halved(tensors):
        del tensors["bert.pooler.dense.bias"]
        return tensors

    with pytest.raises(WeightError, match=r"missing \(1\): bert.pooler.dense.bias"):
        intermodal.load(edit_checkpoint(folder, halved), task="feature-extraction")


def test_a_classifier_without_its_pooler_is_refused_and_a_new_one_gets_one(tiny, tmp_path):
    saved = save_reference(make_reference("BertForSequenceClassification", tiny), tmp_path / "classifier")
    with pytest.raises(WeightError, match=r"missing \(2\): bert.pooler.dense.weight"):
        intermodal.load(edit_checkpoint(saved, lambda t: {k: v for k, v in t.items() if "pooler" not in k}))
    masked = save_reference(make_reference("BertForMaskedLM", tiny), tmp_path / "masked")
    with pytest.warns(UserWarning, match="NEW"):
        model = intermodal.load(masked, task="text-classification", config={"num_labels": 3})
    assert model.report.new == [*POOLER, "classifier.weight", "classifier.bias"]
    assert model(IDS).shape == (2, 3)


def test_the_classifier_of_another_task_is_left_alone(tiny, tmp_path):
    folder = save_reference(make_reference("BertForTokenClassification", tiny), tmp_path)
    with pytest.warns(UserWarning, match="classifier.weight, classifier.bias is NEW"):
        model = intermodal.load(folder, task="text-classification")
    assert model.report.ignored == dict.fromkeys(["classifier.weight", "classifier.bias"], "the head of another task")


def test_the_decoders_bias_alone_is_the_bias(folder, expected):
    def renamed(tensors):
        return {k.replace("predictions.bias", "predictions.decoder.bias"): v for k, v in tensors.items()}

    check(intermodal.load(edit_checkpoint(folder, renamed)), expected)


def test_models_that_look_near_are_refused_by_name(folder):
    with pytest.raises(TaskError, match=r"BertLMHeadModel.*decoder"):
        intermodal.load(edit_checkpoint(folder, architectures=["BertLMHeadModel"]))
    with pytest.raises(MissingPluginError, match=r"roberta.*family of its own"):
        intermodal.load(edit_checkpoint(folder, model_type="roberta"), family="bert")


def test_an_untied_decoder_is_exported_as_transformers_reads_it(tiny, tmp_path):
    import transformers

    made = make_reference("BertForMaskedLM", {**tiny, "tie_word_embeddings": False})
    source = save_reference(made, tmp_path / "source", dtype="bfloat16")
    intermodal.load(source).save_pretrained(tmp_path / "written")
    written, original = tensor_bytes(tmp_path / "written"), tensor_bytes(source)
    assert written.keys() == original.keys()
    for name, bits in written.items():
        np.testing.assert_array_equal(bits, original[name], err_msg=name)
    _, info = transformers.BertForMaskedLM.from_pretrained(tmp_path / "written", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_what_was_read_by_older_names_is_written_by_todays(folder, reference, tmp_path):
    def older(tensors):
        return {k.replace("LayerNorm.weight", "LayerNorm.gamma"): v for k, v in tensors.items()}

    original = tensor_bytes(folder)
    intermodal.convert(edit_checkpoint(folder, older), tmp_path / "written")
    written = tensor_bytes(tmp_path / "written")
    assert written.keys() == original.keys()
    assert all(np.array_equal(written[name], original[name]) for name in original)
