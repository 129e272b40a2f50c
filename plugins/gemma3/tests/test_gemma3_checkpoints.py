"""Gemma 3 checkpoints as they are found: prefixes, shards, ties; and written back."""

import json

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
    tensor_bytes,
)
from safetensors.numpy import load_file

IDS = np.random.default_rng(5).integers(3, 96, (2, 17)).astype("int32")


@pytest.fixture(scope="session")
def reference(tiny):
    return make_reference("Gemma3ForCausalLM", tiny)


@pytest.fixture(scope="session")
def expected(reference):
    return reference_outputs(reference, input_ids=IDS)["logits"]


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "checkpoint")


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model.", "model.language_model."])
def test_every_prefix(prefix, folder, expected):
    def renamed(tensors):
        return {prefix + name.removeprefix("model."): values for name, values in tensors.items()}

    assert_close(intermodal.load(edit_checkpoint(folder, renamed), task="text-generation")(IDS), expected)


def test_shards(reference, tmp_path, expected):
    folder = save_reference(reference, tmp_path, shard_bytes=30_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert_close(intermodal.load(folder)(IDS), expected)


def test_tied_is_the_default_and_a_copy_of_the_head_is_compared(folder, expected):
    raw = json.loads((folder / "config.json").read_text())
    raw.pop("tie_word_embeddings", None)
    (folder / "config.json").write_text(json.dumps(raw))
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert_close(intermodal.load(folder)(IDS), expected)

    def with_head(tensors, factor=1):
        return {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] * np.float32(factor)}

    model = intermodal.load(edit_checkpoint(folder, with_head))
    assert model.report.tied == {"lm_head.weight": "embed_tokens.weight"}
    with pytest.raises(WeightError, match="tie_word_embeddings"):
        intermodal.load(edit_checkpoint(folder, lambda tensors: with_head(tensors, 2)))


def test_a_missing_norm_is_named(folder):
    def changed(tensors):
        tensors.pop("model.layers.0.self_attn.q_norm.weight")
        return tensors

    with pytest.raises(WeightError, match=r"missing \(1\): model.layers.0.self_attn.q_norm.weight \(16,\)"):
        intermodal.load(edit_checkpoint(folder, changed))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("both", [False, True])
def test_export_is_bit_for_bit_and_transformers_reads_it(dtype, both, tiny, tmp_path):
    import transformers

    made = make_reference("Gemma3ForCausalLM", {**tiny, "use_bidirectional_attention": both})
    source = save_reference(made, tmp_path / "source", dtype=dtype)
    model = intermodal.load(source)
    model.save_pretrained(tmp_path / "written", max_shard_size="40KB")
    original, written = tensor_bytes(source), tensor_bytes(tmp_path / "written")
    assert original.keys() == written.keys()
    for name, bits in written.items():
        np.testing.assert_array_equal(bits, original[name], err_msg=name)
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "written", output_loading_info=True, dtype="float32"
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_close(model(IDS), reference_outputs(loaded, input_ids=IDS)["logits"])


def test_another_task_makes_a_new_head_and_says_so(folder):
    with pytest.warns(UserWarning, match=r"score.weight is NEW"):
        model = intermodal.load(folder, task="text-classification", config={"num_labels": 3})
    assert model(IDS).shape == (2, 3)
