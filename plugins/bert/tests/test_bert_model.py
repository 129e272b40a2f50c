"""Outputs of BERT checkpoints against transformers: config fields at other values than the default, and every head."""

import intermodal
import numpy as np
import pytest
from intermodal.errors import InputError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

pytestmark = pytest.mark.backend

random = np.random.default_rng(3)
IDS = random.integers(3, 99, (2, 40)).astype("int32")
TYPES = random.integers(0, 2, (2, 40)).astype("int32")

VARIANTS = {
    "plain": {},
    "layer_norm_eps": {"layer_norm_eps": 1e-2},
    "gelu_new": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "silu": {"hidden_act": "silu"},
    "tanh": {"hidden_act": "tanh"},
    "one head": {"num_attention_heads": 1},
    "one layer": {"num_hidden_layers": 1},
    "five token types": {"type_vocab_size": 5},
    "more positions": {"max_position_embeddings": 60},
    "untied": {"tie_word_embeddings": False},
}

HEADS = {
    "BertModel": "feature-extraction",
    "BertForMaskedLM": "fill-mask",
    "BertForPreTraining": "pretraining",
    "BertForNextSentencePrediction": "next-sentence-prediction",
    "BertForSequenceClassification": "text-classification",
    "BertForTokenClassification": "token-classification",
    "BertForQuestionAnswering": "question-answering",
    "BertForMultipleChoice": "multiple-choice",
}
BY_TOKEN = ("last_hidden_state", "prediction_logits", "start_logits", "end_logits")


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, tiny, tmp_path):
    fields = {**tiny, **VARIANTS[variant]}
    reference = make_reference("BertForMaskedLM", fields)
    model = intermodal.load(save_reference(reference, tmp_path))
    types = TYPES + 3 if fields.get("type_vocab_size") == 5 else TYPES
    expected = reference_outputs(reference, input_ids=IDS, token_type_ids=types)["logits"]
    assert_close(model(input_ids=IDS, token_type_ids=types), expected)


def test_exact_gelu_is_told_from_its_approximation(tiny, tmp_path):
    reference = make_reference("BertForMaskedLM", tiny)
    model = intermodal.load(save_reference(reference, tmp_path))
    assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["logits"], scale=1e-5)


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_heads_under_padding(architecture, side, tiny, tmp_path):
    labels = {"num_labels": 5} if architecture.endswith("Classification") else {}
    reference = make_reference(architecture, {**tiny, **labels})
    model = intermodal.load(save_reference(reference, tmp_path))
    assert model.task == HEADS[architecture]
    mask = np.ones((2, 40), "int32")
    mask[1, slice(0, 9) if side == "left" else slice(31, None)] = 0
    inputs = {"input_ids": IDS, "token_type_ids": TYPES, "attention_mask": mask}
    if model.task == "multiple-choice":
        inputs = {name: np.stack([value, value[::-1], value[:, ::-1]], axis=1) for name, value in inputs.items()}
    got, expected = model(inputs), reference_outputs(reference, **inputs)
    got = got if isinstance(got, dict) else {"logits": got}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        found = _numpy(got[name])
        by_token = name in BY_TOKEN or model.task in ("fill-mask", "token-classification")
        assert_close(found[mask > 0] if by_token else found, value[mask > 0] if by_token else value)


def test_positions_can_be_given(tiny, tmp_path):
    reference = make_reference("BertModel", tiny)
    model = intermodal.load(save_reference(reference, tmp_path))
    positions = np.broadcast_to(np.arange(39, -1, -1, dtype="int32"), (2, 40))
    expected = reference_outputs(reference, input_ids=IDS, position_ids=positions)["last_hidden_state"]
    assert_close(model(input_ids=IDS, position_ids=positions)["last_hidden_state"], expected)


def test_what_the_tables_do_not_hold_is_refused(tiny, tmp_path):
    model = intermodal.load(save_reference(make_reference("BertModel", tiny), tmp_path))
    with pytest.raises(InputError, match="41 tokens, and the model has positions for 40"):
        model(np.ones((1, 41), "int32"))
    with pytest.raises(InputError, match="input_ids holds 99, expected indices from 0 to 98"):
        model(np.array([[3, 99]], "int32"))
    with pytest.raises(InputError, match="token_type_ids holds 2"):
        model(input_ids=IDS, token_type_ids=TYPES + 1)
    with pytest.raises(InputError, match="input_ids holds -1"):
        model([[3, -1]])
    choices = save_reference(make_reference("BertForMultipleChoice", tiny), tmp_path / "choices")
    with pytest.raises(ValueError, match=r"expected \(batch, choices, sequence\)"):
        intermodal.load(choices)(IDS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_checkpoints_are_computed_in_float32(dtype, tiny, tmp_path):
    import transformers

    folder = save_reference(make_reference("BertModel", tiny), tmp_path, dtype=dtype)
    model = intermodal.load(folder)
    assert {str(variable.dtype) for variable in model.variables} == {dtype}
    reference = transformers.AutoModel.from_pretrained(folder, dtype="float32").eval()
    expected = reference_outputs(reference, input_ids=IDS)
    for name in ("last_hidden_state", "pooler_output"):
        assert_close(model(IDS)[name], expected[name])


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
