"""The weight map's words, and what they declare."""

import numpy as np
import pytest
from intermodal.weights.map import Part, Weight, WeightMap, embedding, fuse, head, linear, norm, renamed, repeat, split
from intermodal.weights.transforms import Deinterleave, Identity, Permute


def small_map() -> WeightMap:
    block = [
        *norm("norm", 4, gguf="attn_norm"),
        *linear("q_proj", 4, 8, bias=True, gguf="attn_q", gguf_transform=Deinterleave(2)),
    ]
    weights = [*embedding("embed", 16, 4, gguf="token_embd"), *repeat("layers", 2, block, gguf="blk")]
    return WeightMap((*weights, *head(linear("lm_head", 4, 16), tied_to="embed.weight")), prefix="model.")


def test_repeat_names_blocks_in_every_dialect():
    weight = small_map()["layers.1.q_proj.bias"]
    assert weight.block == ("layers", 1)
    assert weight.aliases["gguf"].name == "blk.1.attn_q.bias"
    assert weight.shape == (8,)


def test_renamed_weights_keep_what_other_dialects_call_them():
    block = renamed("other", "attention.wq", linear("q_proj", 4, 8, bias=True, gguf="attn_q"), Deinterleave(2))
    weights = WeightMap(tuple(repeat("layers", 2, block, gguf="blk"))).by_name()
    found = weights["layers.1.q_proj.bias"].aliases
    assert {dialect: alias.name for dialect, alias in found.items()} == {
        "gguf": "blk.1.attn_q.bias",
        "other": "layers.1.attention.wq.bias",
    }
    assert (found["other"].transform, found["gguf"].transform) == (Deinterleave(2), Identity())


def test_a_tied_weight_is_no_variable():
    names = [variable.name for variable in small_map().variables()]
    assert "lm_head.weight" not in names
    assert names[0] == "embed.weight"


def test_two_weights_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"norm\.weight more than once"):
        WeightMap((*norm("norm", 4), *norm("norm", 4)))


def test_fused_weights_share_one_variable_side_by_side():
    weights = fuse("qkv.weight", [*linear("q", 4, 8), *linear("k", 4, 2), *linear("v", 4, 2)])
    (variable,) = WeightMap(tuple(weights)).variables()
    assert variable.shape == (12, 4)
    assert [part for _, part in variable.weights] == [Part(0, 0, 8), Part(0, 8, 2), Part(0, 10, 2)]


def test_a_gap_between_fused_weights_is_refused():
    first, second = fuse("qk.weight", [*linear("q", 4, 8), *linear("k", 4, 2)])
    moved = Weight(**{**vars(second), "place": ("qk.weight", Part(0, 9, 2))})
    with pytest.raises(ValueError, match=r"k\.weight does not continue"):
        WeightMap((first, moved)).variables()


def test_split_says_that_files_keep_one_tensor():
    gate, up = split("gate_up.weight", [*linear("gate", 4, 6), *linear("up", 4, 6)])
    assert up.aliases["huggingface"].part == Part(0, 6, 6)
    assert gate.aliases["huggingface"].of_shape == (12, 4)


@pytest.mark.parametrize(
    ("transform", "shape"),
    [(Deinterleave(3), (3 * 8, 5)), (Deinterleave(2), (8,)), (Permute((2, 3, 1, 0)), (3, 4, 5, 6))],
)
def test_transforms_invert_bit_for_bit(transform, shape):
    values = np.random.default_rng(0).standard_normal(transform.stored_shape(shape)).astype(np.float32)
    loaded = transform.load(values)
    assert loaded.shape == shape
    np.testing.assert_array_equal(transform.export(loaded), values)


def test_deinterleave_undoes_llama_cpp_permutation():
    """llama.cpp's converter: reshape (heads, 2, D/2, in), swap, flatten."""
    heads, width, inputs = 3, 8, 5
    halves = np.arange(heads * width * inputs).reshape(heads * width, inputs)
    stored = halves.reshape(heads, 2, width // 2, inputs).swapaxes(1, 2).reshape(halves.shape)
    np.testing.assert_array_equal(Deinterleave(heads).load(stored), halves)
