"""What `load` takes for those who come from transformers: variants, other names, other sizes, a config of their own."""

import json

import intermodal
import numpy as np
import pytest
import transformers
from intermodal.errors import CheckpointError, ConfigError, WeightError
from intermodal.testing.reference import assert_close, reference_outputs
from safetensors.numpy import load_file, save_file

IDS = np.array([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]])
MASK = (IDS > 0).astype(int)


def expected(folder, **arguments) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **arguments).eval()
    return reference_outputs(model, input_ids=IDS, attention_mask=MASK)["logits"]


def logits(model) -> np.ndarray:
    return np.asarray(model({"input_ids": IDS, "attention_mask": MASK}))


def test_a_variant_in_a_folder_of_a_repository(hub, classifier):
    main = {path.name: path.read_bytes() for path in classifier.iterdir()}
    weights = main.pop("model.safetensors")
    hub.add_repo("org/name", {f"inner/{n}": c for n, c in {**main, "model.fp16.safetensors": weights}.items()})
    model = intermodal.load("hf://org/name", subfolder="inner", variant="fp16")
    assert model.report.files == ["model.fp16.safetensors"]
    assert_close(logits(model), expected(classifier))
    with pytest.raises(CheckpointError, match=r"no variant 'bf16'.*model\.fp16\.safetensors"):
        intermodal.load("hf://org/name", subfolder="inner", variant="bf16")


def test_a_variant_of_a_file_that_has_none(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="variant='fp16'"):
        intermodal.load(tmp_path, variant="fp16")


def test_other_tensor_names(classifier, copy_of):
    folder = copy_of(classifier)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("bert.", "net.").replace("classifier", "top"): value for name, value in tensors.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightError, match="missing"):
        intermodal.load(folder)
    mapping = {r"^net\.": "bert.", r"^top\.(weight|bias)$": r"classifier.\1"}
    assert_close(logits(intermodal.load(folder, key_mapping=mapping)), expected(classifier))
    assert_close(logits(intermodal.load(folder, key_mapping=mapping)), expected(folder, key_mapping=mapping))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"^nothing": "x"}, r"'\^nothing' is found in no tensor name"),
        ({"(": "x"}, "cannot be applied"),
        ({".*": "x"}, "the same name, 'x"),
    ],
)
def test_key_mappings_that_mean_nothing(classifier, mapping, message):
    with pytest.raises(CheckpointError, match=message):
        intermodal.load(classifier, key_mapping=mapping)


def test_another_number_of_labels(classifier):
    with pytest.raises(WeightError, match=r"(?s)classifier\.weight.*ignore_mismatched_sizes=True") as caught:
        intermodal.load(classifier, config={"num_labels": 5})
    assert "shape (3, 32), the config says (5, 32)" in str(caught.value)
    with pytest.warns(UserWarning, match="Of another shape"):
        model = intermodal.load(classifier, config={"num_labels": 5}, ignore_mismatched_sizes=True)
    assert logits(model).shape == (2, 5)
    assert model.report.mismatched == {
        "classifier.weight": [[3, 32], [5, 32]],
        "classifier.bias": [[3], [5]],
    }
    theirs = transformers.AutoModel.from_pretrained(classifier).eval()
    hidden = reference_outputs(theirs, input_ids=IDS, attention_mask=MASK)["pooler_output"]
    ours = model.backbone({"input_ids": IDS, "attention_mask": MASK})["pooler_output"]
    assert_close(ours, hidden)


def test_names_for_the_same_number_of_labels(classifier):
    model = intermodal.load(classifier, config={"id2label": {0: "a", 1: "b", 2: "c"}})
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert_close(logits(model), expected(classifier))
    with pytest.raises(ConfigError, match="num_labels"):
        intermodal.load(classifier, config={"id2label": {0: "a"}, "num_labels": 2})


def test_a_typed_config_takes_the_place_of_the_file(classifier, copy_of):
    folder = copy_of(classifier)
    raw = json.loads((folder / "config.json").read_text())
    config = intermodal.load(classifier).config
    (folder / "config.json").write_text(json.dumps({**raw, "layer_norm_eps": 0.5}))
    assert_close(logits(intermodal.load(folder, config=config)), expected(classifier))
    with pytest.raises(AssertionError):
        assert_close(logits(intermodal.load(folder)), expected(classifier))
