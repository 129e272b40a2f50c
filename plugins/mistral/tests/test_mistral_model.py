"""Logits of Mistral checkpoints against transformers, for every config field at a value that is not its default."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference

pytestmark = pytest.mark.backend

LONG = 40

MINISTRAL = {
    "alternating": {"layer_types": ["full_attention", "sliding_attention"]},
    "the other way": {"layer_types": ["sliding_attention", "full_attention"]},
    "all sliding": {"layer_types": ["sliding_attention"] * 2},
    "all full": {"layer_types": ["full_attention"] * 2},
    "none listed": {},
}


def ids(batch=2, length=LONG):
    return np.random.default_rng(3).integers(3, 96, (batch, length)).astype("int32")


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.mark.parametrize("model_type", ["ministral", "mistral"])
@pytest.mark.parametrize("variant", MINISTRAL)
def test_layers_that_differ(variant, model_type, tiny, tmp_path):
    fields = {**tiny, "head_dim": 24, "sliding_window": 5, **MINISTRAL[variant]}
    reference = make_reference("MinistralForCausalLM", fields)
    save_reference(reference, tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    # transformers' AutoConfig reads a mistral with layer_types as a ministral
    (tmp_path / "config.json").write_text(json.dumps(raw | {"model_type": model_type}))
    assert_close(intermodal.load(tmp_path)(ids()), reference_outputs(reference, input_ids=ids())["logits"])


CACHED = {
    "window": {"sliding_window": 7},
    "none": {"sliding_window": None},
    "alternating": {"sliding_window": 7, "layer_types": ["full_attention", "sliding_attention"], "head_dim": 12},
}


@pytest.mark.parametrize("prompt", [1, 11])
@pytest.mark.parametrize("variant", CACHED)
def test_cached_steps_are_the_full_forward_at_every_position(variant, prompt, tiny, tmp_path):
    from intermodal.layers.step import Step
    from keras import ops

    fields = {**tiny, **CACHED[variant]}
    architecture = "MinistralForCausalLM" if "layer_types" in fields else "MistralForCausalLM"
    reference = make_reference(architecture, fields)
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    tokens = ids(2, 24)
    expected = reference_outputs(reference, input_ids=tokens)["logits"]
    tensors, cache, found = model.tensors(), model.backbone.new_cache(2, 32), []
    for start, end in [(0, prompt), *((at, at + 1) for at in range(prompt, 24))]:
        positions = ops.convert_to_tensor(np.arange(start, end, dtype="int32")[None])
        piece = ops.convert_to_tensor(tokens[:, start:end])
        step = Step(piece, positions, cache=cache, offset=start)
        found.append(_numpy(model.compute(tensors, step)))
        cache = step.cache
    assert_close(np.concatenate(found, 1), expected)
