"""Mistral checkpoints as they are found: prefixes, shards, ties, other tasks, defects; and written back."""

import intermodal
import numpy as np
import pytest
from intermodal.errors import WeightError
from intermodal.testing.reference import (
    assert_close,
    edit_checkpoint,
    make_reference,
    reference_outputs,
    save_reference,
)
from safetensors.numpy import load_file

IDS = np.random.default_rng(5).integers(3, 96, (2, 17)).astype("int32")


@pytest.fixture(scope="session")
def reference(tiny):
    return make_reference("MistralForCausalLM", {**tiny, "sliding_window": 6})


@pytest.fixture(scope="session")
def expected(reference):
    return reference_outputs(reference, input_ids=IDS)["logits"]


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "checkpoint")


def test_shards_beside_the_same_weights_in_another_layout(reference, tmp_path, expected):
    folder = save_reference(reference, tmp_path, shard_bytes=30_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    # many repositories hold the weights twice, and these are never looked at then
    (folder / "consolidated.safetensors").write_bytes(b"not read")
    (folder / "params.json").write_text("{}")
    assert_close(intermodal.load(folder)(IDS), expected)


def test_biases_and_other_extra_tensors_are_refused_by_name(folder):
    def biased(tensors):
        return {**tensors, "model.layers.0.self_attn.q_proj.bias": np.ones(48, "float32")}

    with pytest.raises(WeightError, match=r"unexpected \(1\): model.layers.0.self_attn.q_proj.bias"):
        intermodal.load(edit_checkpoint(folder, biased))


MINISTRAL = {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 6, "head_dim": 12}
EXPORTED = {
    "MistralForCausalLM": {"sliding_window": 6},
    "MistralModel": {"sliding_window": None},
    "MistralForTokenClassification": {},
    "MistralForQuestionAnswering": {},
    "MinistralForCausalLM": MINISTRAL,
    "MinistralForSequenceClassification": MINISTRAL,
    "MinistralForQuestionAnswering": MINISTRAL,
}


@pytest.mark.parametrize("architecture", EXPORTED)
def test_export_is_bit_for_bit_and_transformers_reads_it(architecture, tiny, tmp_path):
    import transformers

    made = make_reference(architecture, {**tiny, **EXPORTED[architecture]})
    source = save_reference(made, tmp_path / "source")
    intermodal.load(source).save_pretrained(tmp_path / "written")
    original, written = (load_file(tmp_path / name / "model.safetensors") for name in ("source", "written"))
    assert written.keys() == original.keys()
    assert all(np.array_equal(written[name], original[name]) for name in original)
    auto = {
        "Model": transformers.AutoModel,
        "ForCausalLM": transformers.AutoModelForCausalLM,
        "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
        "ForTokenClassification": transformers.AutoModelForTokenClassification,
        "ForQuestionAnswering": transformers.AutoModelForQuestionAnswering,
    }[architecture.removeprefix("Mistral").removeprefix("Ministral")]
    loaded, info = auto.from_pretrained(tmp_path / "written", output_loading_info=True, dtype="float32")
    assert type(loaded).__name__ == architecture
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = reference_outputs(made, input_ids=IDS)
    for name, values in reference_outputs(loaded, input_ids=IDS).items():
        np.testing.assert_array_equal(values, expected[name])
