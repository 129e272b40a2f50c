"""Pooling of token vectors against sums written out in torch."""

import numpy as np
import pytest
from intermodal.tasks.pooling import normalize, pool
from keras import ops

pytestmark = pytest.mark.backend
torch = pytest.importorskip("torch")

HIDDEN = np.random.default_rng(2).standard_normal((3, 6, 4)).astype("float32")
LENGTHS = (6, 4, 1)

OF_TEXT = {
    "cls": lambda text: text[0],
    "lasttoken": lambda text: text[-1],
    "mean": lambda text: text.mean(0),
    "max": lambda text: text.max(0).values,
    "mean_sqrt_len_tokens": lambda text: text.sum(0) / len(text) ** 0.5,
    "weightedmean": lambda text: (
        (text * torch.arange(1, len(text) + 1)[:, None]).sum(0) / (len(text) * (len(text) + 1) / 2)
    ),
}


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.mark.parametrize("mode", OF_TEXT)
@pytest.mark.parametrize("side", ["left", "right"])
def test_each_mode_looks_at_the_text_alone(mode, side):
    parts = [slice(6 - n, None) if side == "left" else slice(0, n) for n in LENGTHS]
    mask = np.zeros((3, 6), "int32")
    for row, part in zip(mask, parts, strict=True):
        row[part] = 1
    expected = np.stack([OF_TEXT[mode](torch.tensor(h[part])).numpy() for h, part in zip(HIDDEN, parts, strict=True)])
    got = pool(ops.convert_to_tensor(HIDDEN), ops.convert_to_tensor(mask), (mode,))
    np.testing.assert_allclose(numpy(got), expected, atol=1e-6)


def test_without_a_mask_all_is_text_and_modes_stand_side_by_side():
    got = pool(ops.convert_to_tensor(HIDDEN), None, ("max", "mean"))
    np.testing.assert_allclose(numpy(got), np.concatenate([HIDDEN.max(1), HIDDEN.mean(1)], -1), atol=1e-6)


def test_normalize_is_torchs():
    vectors = np.concatenate([HIDDEN[:, 0], np.zeros((1, 4), "float32")])
    expected = torch.nn.functional.normalize(torch.tensor(vectors)).numpy()
    np.testing.assert_allclose(numpy(normalize(ops.convert_to_tensor(vectors))), expected, atol=1e-7)
