"""wav2vec 2.0 checkpoints as they are found, what is refused, and what Keras does with the models, on every backend."""

import subprocess
import sys

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import ConfigError, InputError, TaskError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference
from intermodal.testing.training import assert_new_head_learns
from keras import ops

VALUES = np.random.default_rng(2).standard_normal((4, 700)).astype("float32")
MASK = (np.arange(700) < np.array([[700], [420], [700], [90]])).astype("int32")


@pytest.fixture(scope="module")
def pretrained(tiny, tmp_path_factory):
    """A checkpoint of pretraining, from which most others are made."""
    return save_reference(make_reference("Wav2Vec2ForPreTraining", tiny), tmp_path_factory.mktemp("pretrained"))


def rewritten(folder, target, change):
    """A copy of a checkpoint with other tensors."""
    from safetensors.numpy import load_file, save_file

    target.mkdir()
    (target / "config.json").write_text((folder / "config.json").read_text())
    save_file(change(load_file(folder / "model.safetensors")), target / "model.safetensors", {"format": "pt"})
    return target


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


@pytest.mark.backend
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_recordings_of_different_lengths_in_a_batch(tiny, tmp_path, norm):
    fields = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "num_labels": 3}
    reference = make_reference("Wav2Vec2ForSequenceClassification", {**tiny, **fields})
    model = intermodal.load(save_reference(reference, tmp_path))
    padded = VALUES * MASK.astype("float32")
    expected = reference_outputs(reference, input_values=padded, attention_mask=MASK)["logits"]
    assert_close(model(input_values=padded, attention_mask=MASK).logits, expected)
    if norm == "layer":  # nothing then sees the padding
        assert_close(model(padded[1:2, :420]), expected[1:2])


@pytest.mark.backend
def test_fit_learns_and_predict_computes(pretrained):
    inputs = {"input_values": VALUES, "attention_mask": MASK}
    labels = np.array([0, 1, 2, 1])
    model = assert_new_head_learns(pretrained, "audio-classification", inputs, labels, still=["masked_spec_embed"])
    assert_close(model.predict(inputs, verbose=0), numpy(model(inputs)), scale=1e-5)


@pytest.mark.backend
def test_lora_int8_and_symbolic_calls(pretrained):
    model = intermodal.load(pretrained)
    inputs = {"input_values": VALUES}
    before = numpy(model(inputs)["projected_states"])
    functional = keras.Model(symbolic := keras.Input((None,), name="input_values"), model(symbolic))
    assert_close(functional(VALUES)["projected_states"], before, scale=1e-6)
    model.enable_lora(2, ["q_proj", "v_proj"], seed=0)
    assert len(model.trainable_variables) == 2 * 2 * 2
    assert_close(model(inputs)["projected_states"], before, scale=1e-6)
    model = intermodal.load(pretrained)
    model.quantize("int8")
    assert 0 < np.abs(numpy(model(inputs)["projected_states"]) - before).max() < 0.1 * np.abs(before).max()


def test_a_keras_file_is_read_by_a_program_that_has_imported_nothing(tiny, tmp_path):
    model = intermodal.load(save_reference(make_reference("Wav2Vec2ForCTC", tiny), tmp_path / "checkpoint"))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "values.npy", VALUES)
    code = (
        f"import intermodal, numpy as np; model = intermodal.load({str(tmp_path / 'model.keras')!r}); "
        f"out = model(input_values=np.load({str(tmp_path / 'values.npy')!r})).logits; "
        f"import keras; np.save({str(tmp_path / 'out.npy')!r}, keras.ops.convert_to_numpy(out)); print(model.task)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == model.task
    assert_close(np.load(tmp_path / "out.npy"), numpy(model(input_values=VALUES).logits), scale=1e-6)


@pytest.mark.parametrize(
    ("auto", "architecture"),
    [
        ("AutoModel", "Wav2Vec2Model"),
        ("AutoModelForCTC", "Wav2Vec2ForCTC"),
        ("AutoModelForAudioClassification", "Wav2Vec2ForSequenceClassification"),
        ("AutoModelForAudioFrameClassification", "Wav2Vec2ForAudioFrameClassification"),
        ("AutoModelForAudioXVector", "Wav2Vec2ForXVector"),
        ("AutoModelForPreTraining", "Wav2Vec2ForPreTraining"),
    ],
)
def test_auto_classes_give_what_those_of_transformers_give(tiny, tmp_path, auto, architecture):
    import transformers

    save_reference(make_reference(architecture, tiny), tmp_path)
    theirs = getattr(transformers, auto).from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == architecture
    got = getattr(intermodal, auto).from_pretrained(tmp_path)(input_values=VALUES)
    expected = reference_outputs(theirs, input_values=VALUES)
    assert set(got) == set(expected)
    for name, values in expected.items():
        assert_close(got[name], values)


def test_a_vector_of_training_may_be_absent(pretrained, tmp_path):
    def without(tensors):
        return {name: values for name, values in tensors.items() if "masked_spec_embed" not in name}

    model = intermodal.load(rewritten(pretrained, tmp_path / "without", without))
    assert list(model.report.left_out) == ["masked_spec_embed"]
    assert_close(model(VALUES)["projected_states"], numpy(intermodal.load(pretrained)(VALUES)["projected_states"]))
    model.save_pretrained(tmp_path / "written")
    assert list(intermodal.load(tmp_path / "written").report.left_out) == ["masked_spec_embed"]


def test_what_pretraining_leaves_is_ignored_with_a_reason(tiny, pretrained, tmp_path):
    with pytest.warns(UserWarning, match="NEW"):
        model = intermodal.load(pretrained, task="automatic-speech-recognition")
    assert set(model.report.new) == {"lm_head.weight", "lm_head.bias"}
    left = {"quantizer.codevectors", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"}
    left |= {f"project_{name}.{kind}" for name in ("hid", "q") for kind in ("weight", "bias")}
    assert set(model.report.ignored) == left
    encoder = save_reference(make_reference("Wav2Vec2Model", tiny), tmp_path / "encoder")
    extra = {"quantizer.codevectors": np.zeros((1, 24, 4), "float32")}
    found = intermodal.load(rewritten(encoder, tmp_path / "extra", lambda tensors: {**tensors, **extra}))
    assert "quantised frames" in found.report.ignored["quantizer.codevectors"]


def test_older_names_of_weight_norms(tiny, tmp_path):
    reference = make_reference("Wav2Vec2ForCTC", tiny)
    folder = save_reference(reference, tmp_path / "new")
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

    def older(tensors):
        return {
            next((name.replace(new, old) for new, old in names.items() if name.endswith(new)), name): values
            for name, values in tensors.items()
        }

    model = intermodal.load(rewritten(folder, tmp_path / "older", older))
    expected = reference_outputs(reference, input_values=VALUES)["logits"]
    assert_close(model(VALUES), expected)
    model.save_pretrained(tmp_path / "written")
    import transformers

    again, info = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "written", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_close(reference_outputs(again.eval(), input_values=VALUES)["logits"], expected, scale=1e-6)


def test_what_is_refused(tiny, pretrained, tmp_path):
    for named in ("Wav2Vec2ForSpeechClassification", "EmotionModel"):
        folder = rewritten(pretrained, tmp_path / named, dict)
        text = (folder / "config.json").read_text().replace("Wav2Vec2ForPreTraining", named)
        (folder / "config.json").write_text(text)
        with pytest.raises(TaskError, match=rf"{named} is not read by wav2vec2: it is a class of the repository's own"):
            intermodal.load(folder)
    adapted = save_reference(make_reference("Wav2Vec2ForCTC", {**tiny, "add_adapter": True}), tmp_path / "adapted")
    with pytest.raises(ConfigError, match="behind the adapter there is no head but lm_head"):
        intermodal.load(adapted, task="audio-classification")
    assert intermodal.load(adapted).task == "automatic-speech-recognition"
    model = intermodal.load(pretrained)
    with pytest.raises(InputError, match="has 20 samples, and the first frame takes 30"):
        model(VALUES[:, :20])
    with pytest.raises(InputError, match="has 10 samples, and the first frame takes 30"):
        model(input_values=VALUES, attention_mask=(np.arange(700) < np.full((4, 1), 10)).astype("int32"))
    with pytest.raises(InputError, match="padding before samples"):
        model(input_values=VALUES, attention_mask=MASK[:, ::-1].copy())
    with pytest.raises(InputError, match=r"shape \(4, 2, 700\), expected \(batch, samples\)"):
        model(np.stack([VALUES, VALUES], axis=1))
