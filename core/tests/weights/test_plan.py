"""Matching a map with what a checkpoint holds: everything placed, or named in the error."""

import dataclasses

import pytest
from intermodal.checkpoints.base import TensorInfo
from intermodal.errors import WeightError
from intermodal.weights.map import Ignored, Weight, WeightMap, embedding, head, linear, norm, repeat, split
from intermodal.weights.plan import make_plan, plan_bytes


def weight_map(*, tied: bool = False) -> WeightMap:
    block = [*norm("input_layernorm", 4), *linear("mlp", 4, 6)]
    return WeightMap(
        (
            *embedding("embed_tokens", 10, 4),
            *repeat("layers", 2, block),
            *head(linear("lm_head", 4, 10), tied_to="embed_tokens.weight" if tied else None),
        ),
        prefix="model.",
        prefixes=("model.", "", "language_model.model."),
        ignored=(Ignored(r".*inv_freq", "computed"),),
    )


def tensors(the_map: WeightMap, prefix: str = "model.") -> dict[str, TensorInfo]:
    found = {}
    for weight in the_map.weights:
        if weight.tied_to is None:
            name = weight.name if weight.head else prefix + weight.name
            found[name] = info(name, weight.shape)
    return found


def info(name: str, shape: tuple[int, ...]) -> TensorInfo:
    return TensorInfo(name, "float32", shape, 4, "model.safetensors", 0, "F32")


@pytest.mark.parametrize("prefix", ["model.", "", "language_model.model."])
def test_every_prefix_is_found_once_for_the_whole_checkpoint(prefix):
    plan = make_plan(weight_map(), tensors(weight_map(), prefix))
    assert plan.prefix == prefix
    assert plan.pieces["layers.1.mlp.weight"][0].source.name == f"{prefix}layers.1.mlp.weight"
    assert set(plan.pieces) == {variable.name for variable in weight_map().variables()}


def test_missing_unexpected_and_misshapen_tensors_are_all_named():
    found = tensors(weight_map())
    del found["model.layers.0.mlp.weight"]
    found["model.layers.0.extra.weight"] = info("model.layers.0.extra.weight", (3,))
    found["lm_head.weight"] = info("lm_head.weight", (11, 4))
    with pytest.raises(WeightError) as caught:
        make_plan(weight_map(), found)
    text = str(caught.value)
    assert "missing (1): model.layers.0.mlp.weight (6, 4)" in text
    assert "unexpected (1): model.layers.0.extra.weight (3,)" in text
    assert "lm_head.weight in model.safetensors: shape (11, 4), the config says (10, 4)" in text


def test_what_a_checkpoint_may_lack_is_left_out_as_a_whole_or_new_with_the_head():
    def pooled(if_absent):
        pooler = [dataclasses.replace(weight, if_absent=if_absent) for weight in linear("pooler", 4, 4, bias=True)]
        return dataclasses.replace(weight_map(), weights=(*weight_map().weights, *pooler))

    found = tensors(weight_map())
    plan = make_plan(pooled("left out"), found)
    assert plan.left_out == ("pooler.weight", "pooler.bias")
    assert plan.new == ()
    assert {variable.name for variable in plan.variables} == set(plan.pieces)
    half = {**found, "model.pooler.weight": info("model.pooler.weight", (4, 4))}
    with pytest.raises(WeightError, match=r"missing \(1\): model.pooler.bias \(4,\)"):
        make_plan(pooled("left out"), half)
    with pytest.raises(WeightError, match=r"missing \(2\): model.pooler.weight"):
        make_plan(pooled("new"), found)
    del found["lm_head.weight"]
    assert make_plan(pooled("new"), found, new_head=True).new == ("lm_head.weight", "pooler.weight", "pooler.bias")


def test_known_tensors_are_ignored_with_their_reason():
    found = tensors(weight_map())
    found["model.layers.0.rotary.inv_freq"] = info("model.layers.0.rotary.inv_freq", (2,))
    assert make_plan(weight_map(), found).ignored == {"model.layers.0.rotary.inv_freq": "computed"}


def test_not_strict_lists_what_it_leaves_out():
    found = tensors(weight_map())
    found["extra"] = info("extra", (3,))
    assert make_plan(weight_map(), found, strict=False).ignored == {"extra": "unexpected, and strict=False"}


def test_a_new_head_only_where_another_task_was_saved():
    found = tensors(weight_map())
    del found["lm_head.weight"]
    with pytest.raises(WeightError, match=r"missing \(1\): lm_head.weight"):
        make_plan(weight_map(), found)
    assert make_plan(weight_map(), found, new_head=True).new == ("lm_head.weight",)


def test_tied_with_and_without_a_copy():
    plan = make_plan(weight_map(tied=True), tensors(weight_map(tied=True)))
    assert plan.tied == {"lm_head.weight": "embed_tokens.weight"}
    assert not plan.tied_copies
    plan = make_plan(weight_map(tied=True), tensors(weight_map()))
    assert plan.tied_copies["lm_head.weight"].shape == (10, 4)


def test_a_fused_source_must_be_placed_whole():
    parts = split("qk.weight", [*linear("q", 4, 6), *linear("k", 4, 2)])
    whole = {"qk.weight": info("qk.weight", (8, 4))}
    plan = make_plan(WeightMap(tuple(parts)), whole)
    assert {name: piece[0].source.name for name, piece in plan.pieces.items()} == {
        "q.weight": "qk.weight",
        "k.weight": "qk.weight",
    }
    with pytest.raises(WeightError, match="rows from 6 on have no place"):
        make_plan(WeightMap(tuple(parts[:1])), whole)


def test_legacy_names():
    weights = [dataclasses.replace(w, legacy=("norm.gamma",)) for w in norm("norm", 4)]
    plan = make_plan(WeightMap(tuple(weights)), {"norm.gamma": info("norm.gamma", (4,))})
    assert plan.pieces["norm.weight"][0].source.name == "norm.gamma"


def test_bytes_count_each_tensor_once():
    parts = split("qk.weight", [*linear("q", 4, 6), *linear("k", 4, 2)])
    plan = make_plan(WeightMap(tuple(parts)), {"qk.weight": info("qk.weight", (8, 4))})
    assert plan_bytes(plan) == (32, 4)


def test_weight_is_data():
    assert Weight("a.weight", (1,), "norm", (None,)) == Weight("a.weight", (1,), "norm", (None,))
