"""What says that `fit` trains a model, on models that it cannot train."""

import intermodal
import numpy as np
import pytest
from intermodal.testing.reference import make_reference, save_reference
from intermodal.testing.training import assert_new_head_learns

FIELDS = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 80}
IDS = np.random.default_rng(6).integers(3, 99, (4, 12)).astype("int32")
LABELS = np.array([0, 1, 2, 1])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    fields = {**FIELDS, "vocab_size": 99, "max_position_embeddings": 40}
    return save_reference(make_reference("BertModel", fields), tmp_path_factory.mktemp("encoder"))


def test_a_weight_that_is_not_trained_is_named(encoder, monkeypatch):
    load, frozen = intermodal.load, "encoder.layer.0.attention.self.key.weight"

    def with_one_frozen(*arguments, **options):
        model = load(*arguments, **options)
        model.backbone.by_name[frozen].trainable = False
        return model

    monkeypatch.setattr(intermodal, "load", with_one_frozen)
    with pytest.raises(AssertionError, match=rf"\['{frozen}'\] did not change in training, expected \[\]"):
        assert_new_head_learns(encoder, "text-classification", {"input_ids": IDS}, LABELS)
    assert_new_head_learns(encoder, "text-classification", {"input_ids": IDS}, LABELS, still=[frozen])


def test_how_often_labels_occur_is_not_enough(encoder):
    """Rows that are alike leave nothing else to learn."""
    alike = {"input_ids": IDS[:1].repeat(4, axis=0)}
    with pytest.raises(AssertionError, match=r"the loss went from 1\.\d+ to 1\.\d+ only"):
        assert_new_head_learns(encoder, "text-classification", alike, LABELS)
