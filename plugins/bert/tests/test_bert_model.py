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
