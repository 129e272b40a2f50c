"""Texts side by side: which are read together, and that each is computed as it is alone."""

import intermodal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intermodal import kernels
from intermodal.layers.step import Texts
from intermodal.tasks import packing, pooling
from intermodal.testing.reference import make_reference, save_reference
from keras import ops

random = np.random.default_rng(3)

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
MODELS = {
    "BertModel": {"intermediate_size": 64, "max_position_embeddings": 40, "type_vocab_size": 2},
    "DistilBertModel": {"vocab_size": 60, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "LlamaModel": {"intermediate_size": 64, "num_key_value_heads": 2},
    "MistralModel": {"intermediate_size": 64, "num_key_value_heads": 2, "sliding_window": 5},
    "Qwen2Model": {"intermediate_size": 64, "num_key_value_heads": 2},
    "Gemma3TextModel": {"intermediate_size": 64, "num_key_value_heads": 1, "use_bidirectional_attention": True,
                        "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
}  # fmt: skip


@given(st.lists(st.integers(1, 1500), max_size=300))
def test_each_text_is_read_once_and_there_is_room_for_it(lengths):
    members = list(packing.together(lengths))
    assert sorted(index for some in members for index in some) == list(range(len(lengths)))
    for some in members:
        assert len(some) == 1 or sum(lengths[index] for index in some) <= packing.TOKENS
        assert len(some) <= packing.TOKENS // packing.SHORTEST


def test_little_is_read_that_is_no_text():
    lengths = np.minimum(4 + random.exponential(14, 1000), 60).astype(int).tolist()
    rows = {"input_ids": [[1] * length for length in lengths]}
    read = [(inputs["input_ids"].size, inputs["input_ids"].sum()) for _, inputs in packing.side_by_side(rows)]
    assert sum(text for _, text in read) == sum(lengths)
    assert sum(size for size, _ in read[:-1]) < 1.02 * sum(text for _, text in read[:-1])
    assert read[-1][0] <= packing.TOKENS


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_the_inputs_say_where_each_text_stands(lengths):
    rows = {"input_ids": [list(range(number, number + length)) for number, length in enumerate(lengths)]}
    for members, inputs in packing.side_by_side(rows):
        assert {array.dtype for array in inputs.values()} == {np.dtype("int32")}
        for number, index in enumerate(members):
            span = slice(inputs["text_begins"][number], inputs["text_ends"][number] + 1)
            assert inputs["input_ids"][0, span].tolist() == rows["input_ids"][index]
            assert (inputs["text_numbers"][0, span] == number).all()
        of_none = inputs["text_numbers"] == len(inputs["text_begins"])
        assert of_none.sum() == inputs["input_ids"].size - sum(lengths[index] for index in members)


def texts_of(rows):
    """Rows of ids side by side, and a few tokens that are of none."""
    lengths = np.array([len(row) for row in rows])
    numbers = np.concatenate([np.repeat(np.arange(len(rows)), lengths), [len(rows)] * 5])
    ends = np.cumsum(lengths)
    ids = np.concatenate([*rows, [0] * 5])[None]
    names = ("input_ids", "text_numbers", "text_begins", "text_ends")
    arrays = (ids, numbers[None], ends - lengths, ends - 1)
    return {name: array.astype("int32") for name, array in zip(names, arrays, strict=True)}


@pytest.mark.backend
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled kernels", "plain"])
def test_hidden_states_are_those_of_each_text_alone(name, compiled, tmp_path, monkeypatch):
    """In whatever family; windows, positions and earlier texts included."""
    reference = make_reference(name, {**SIZES, **MODELS[name]})
    model = intermodal.load(save_reference(reference, tmp_path), "feature-extraction")
    assert model.backbone.reads_packed
    rows = [random.integers(5, 60, length) for length in (9, 1, 30, 17)]
    inputs = texts_of(rows)
    outputs = model.predict_on_batch(inputs) if compiled else model(inputs)
    got, at = np.asarray(ops.convert_to_numpy(outputs["last_hidden_state"]))[0], 0
    for row in rows:
        alone = np.asarray(ops.convert_to_numpy(model({"input_ids": row[None]})["last_hidden_state"]))[0]
        np.testing.assert_allclose(got[at : at + len(row)], alone, atol=1e-5 * np.abs(alone).max())
        at += len(row)


@pytest.mark.backend
def test_a_pooled_token_and_logits_are_those_of_each_text(tmp_path):
    for name, task in (
        ("BertForSequenceClassification", "text-classification"),
        ("DistilBertForSequenceClassification", "text-classification"),
        ("LlamaForSequenceClassification", "text-classification"),
    ):
        config = {**SIZES, **MODELS[name.replace("ForSequenceClassification", "Model")], "num_labels": 3}
        folder = save_reference(make_reference(name, {**config, "pad_token_id": 0}), tmp_path / name)
        model = intermodal.load(folder, task)
        rows = [random.integers(5, 60, length) for length in (9, 1, 12)]
        rows.append(np.array([7, 0, 9, 0, 0]))  # the padding's id in a text, as where it is that of a text's end
        got = np.asarray(model.predict_on_batch(texts_of(rows)))
        expected = [ops.convert_to_numpy(model({"input_ids": row[None]}))[0] for row in rows]
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.backend
@pytest.mark.parametrize("mode", ["cls", "lasttoken", "mean", "max", "mean_sqrt_len_tokens", "weightedmean"])
def test_pooling_looks_at_each_text_alone(mode):
    lengths = (6, 1, 4)
    numbers = np.repeat([0, 1, 2, 3], [*lengths, 2]).astype("int32")
    begins, ends = np.array([0, 6, 7], "int32"), np.array([5, 6, 10], "int32")
    hidden = random.standard_normal((1, 13, 8)).astype("float32")
    members = Texts(*map(ops.convert_to_tensor, (numbers, begins, ends))).members
    got = ops.convert_to_numpy(pooling.pool(ops.convert_to_tensor(hidden), members, (mode,)))
    for vector, begin, end in zip(got, begins, ends, strict=True):
        alone = pooling.pool(ops.convert_to_tensor(hidden[:, begin : end + 1]), None, (mode,))
        np.testing.assert_allclose(vector, ops.convert_to_numpy(alone)[0], atol=1e-6)


@pytest.mark.backend
def test_inputs_of_texts_side_by_side_are_given_together(tmp_path, monkeypatch):
    model = intermodal.load(save_reference(make_reference("BertModel", {**SIZES, **MODELS["BertModel"]}), tmp_path))
    with pytest.raises(intermodal.errors.InputError, match="text_numbers is no input"):
        model({"input_ids": np.ones((1, 4), int), "text_numbers": np.zeros((1, 4), int)})
    side_by_side = texts_of([np.array([5, 6, 7]), np.array([8, 9])])
    for told in ("attention_mask", "position_ids"):
        with pytest.raises(intermodal.errors.InputError, match=f"{told} is no input"):
            model({**side_by_side, told: np.ones_like(side_by_side["input_ids"])})
    with monkeypatch.context() as changed:
        changed.setattr(type(model.backbone), "reads_packed", False)
        with pytest.raises(intermodal.errors.InputError, match="is no input of this model"):
            model(side_by_side)
    assert not packing.reads_side_by_side(model, {"input_ids": [[1], []]})
    assert not packing.reads_side_by_side(model, {"input_ids": [[1] * 41]})
    assert not packing.reads_side_by_side(model, {"input_ids": [[1, 2]], "attention_mask": [[1, 0]]})
    with kernels.inference():
        assert packing.reads_side_by_side(model, {"input_ids": [[1, 2]] * 400}) == kernels.takes_ranges(None)
    model.compile(run_eagerly=True)
    assert not packing.reads_side_by_side(model, {"input_ids": [[1, 2]] * 400})
