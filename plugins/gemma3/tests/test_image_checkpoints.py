"""Checkpoints of Gemma 3 with images: every prefix, ties, what is left alone; and written back, processor included."""

import importlib.util
import json
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, WeightError
from intermodal.testing.reference import assert_close, edit_checkpoint, reference_outputs, save_reference
from intermodal_gemma3.image_config import GemmaConfig
from safetensors.numpy import load_file

R = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("image_reference", Path(__file__).with_name("image_reference.py"))
)
spec.loader.exec_module(R)

random = np.random.default_rng(3)
IDS = random.integers(3, 30, (2, 24)).astype("int32")
IDS[0, 5:14] = R.IMAGE
IDS[1, 9:18] = R.IMAGE
INPUTS = {
    "input_ids": IDS,
    "pixel_values": random.normal(size=(2, 3, 24, 24)).astype("float32"),
    "token_type_ids": (IDS == R.IMAGE).astype("int32"),
}
# What stands before text, image encoder and projector: Google's files and transformers 4 to 4.51; what transformers
# 5.23 writes; the names of its modules, with and without the class of the image encoder; the backbone alone.
PREFIXES = [
    ("language_model.model.", "vision_tower.vision_model.", "multi_modal_projector."),
    ("language_model.model.", "vision_tower.", "multi_modal_projector."),
    ("model.language_model.", "model.vision_tower.vision_model.", "model.multi_modal_projector."),
    ("model.language_model.", "model.vision_tower.", "model.multi_modal_projector."),
    ("language_model.", "vision_tower.vision_model.", "multi_modal_projector."),
    ("language_model.", "vision_tower.", "multi_modal_projector."),
]
WRITTEN = PREFIXES[1]


@pytest.fixture(scope="module")
def reference():
    return R.make()


@pytest.fixture(scope="module")
def expected(reference):
    return reference_outputs(reference, **INPUTS)["logits"]


@pytest.fixture
def folder(reference, tmp_path):
    return save_reference(reference, tmp_path / "checkpoint")


def with_prefixes(prefixes):
    def renamed(name):
        for old, new in zip(WRITTEN, prefixes, strict=True):
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name

    return lambda tensors: {renamed(name): values for name, values in tensors.items()}


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_every_prefix(prefixes, folder, expected):
    model = intermodal.load(edit_checkpoint(folder, with_prefixes(prefixes)))
    assert_close(model(INPUTS), expected)
    assert list(model.report.prefix.values()) == list(prefixes)


@pytest.mark.parametrize("name", ["lm_head.weight", "language_model.lm_head.weight"])
def test_the_head_under_both_names(name, tmp_path):
    reference = R.make(tie_word_embeddings=False)
    folder = save_reference(reference, tmp_path)

    def renamed(tensors):
        (own,) = [key for key in tensors if key.endswith("lm_head.weight")]
        return {name if key == own else key: values for key, values in tensors.items()}

    assert_close(
        intermodal.load(edit_checkpoint(folder, renamed))(INPUTS), reference_outputs(reference, **INPUTS)["logits"]
    )


def test_a_copy_of_the_tied_head_is_compared(folder):
    def copied(tensors):
        return {**tensors, "lm_head.weight": tensors["language_model.model.embed_tokens.weight"] * np.float32(2)}

    with pytest.raises(WeightError, match="tie_word_embeddings"):
        intermodal.load(edit_checkpoint(folder, copied))


def test_missing_and_unexpected_tensors_are_named(folder):
    def changed(tensors):
        tensors.pop("vision_tower.encoder.layers.1.mlp.fc1.bias")
        return {**tensors, "vision_tower.extra": np.zeros(3, np.float32)}

    with pytest.raises(
        WeightError, match=r"missing \(1\): vision_tower.encoder.layers.1.mlp.fc1.bias \(40,\)"
    ) as error:
        intermodal.load(edit_checkpoint(folder, changed))
    assert "unexpected (1): vision_tower.extra" in str(error.value)


def test_sparse_configs_mean_the_defaults_of_transformers():
    import transformers

    sparse = {"vision_config": {"image_size": 896, "patch_size": 14}}  # SigLIP's own 224 has no 256 tokens
    theirs = transformers.Gemma3Config(**sparse)
    ours = GemmaConfig.from_hf({"model_type": "gemma3", **sparse})[0]
    for name in ("mm_tokens_per_image", "image_token_index", "boi_token_index", "eoi_token_index"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for part in ("text_config", "vision_config"):
        for name in getattr(ours, part).checks():
            if hasattr(getattr(theirs, part), name) and name not in ("architectures", "id2label", "label2id"):
                assert getattr(getattr(ours, part), name) == getattr(getattr(theirs, part), name), name


def test_every_key_that_transformers_writes_is_accounted_for():
    import transformers

    raw = json.loads(transformers.Gemma3Config(**R.TINY).to_json_string(use_diff=False))
    report = GemmaConfig.from_hf(raw)[1]
    assert not report.foreign
    assert {"text_config.hidden_size", "vision_config.image_size", "mm_tokens_per_image"} <= set(report.consumed)
    raw["vision_config"]["sharpen"] = True
    assert list(GemmaConfig.from_hf({**raw, "transformers_version": "5.23.0"})[1].foreign) == ["vision_config.sharpen"]
    with pytest.raises(ConfigError, match=r"vision_config\.sharpen = true: unknown key"):
        GemmaConfig.from_hf({**raw, "transformers_version": "6.0.0"})


@pytest.mark.parametrize(
    "overrides", [{"text_config.sliding_window": 3}, {"text_config": {"sliding_window": 3}}], ids=["path", "object"]
)
def test_keys_of_a_part_can_be_overridden(overrides):
    config, report = GemmaConfig.from_hf(R.TINY, overrides=overrides)
    assert config.text_config.sliding_window == 3
    assert config.text_config.hidden_size == R.TINY["text_config"]["hidden_size"]
    assert report.overrides == ("text_config.sliding_window = 3",)
    with pytest.raises(ConfigError, match=r"override nothing; text_config\.rms_norm_eps is"):
        GemmaConfig.from_hf(R.TINY, overrides={"rms_norm_eps": 0.1})


def test_headers_alone_tell_what_it_is(folder):
    found = intermodal.inspect(folder)
    assert found.loadable
    assert (found.family, found.task) == ("gemma3", "image-text-to-text")
    assert found.parameters == sum(values.size for values in load_file(folder / "model.safetensors").values())


@pytest.mark.parametrize("how", ["save_pretrained", "convert"])
@pytest.mark.parametrize("tied", [True, False])
def test_export_is_bit_for_bit_and_transformers_reads_all_of_it(how, tied, tmp_path):
    import transformers
    from PIL import Image

    reference = R.make(tie_word_embeddings=tied)
    source = R.save(tmp_path / "source", reference, do_pan_and_scan=True, pan_and_scan_min_crop_size=8)
    if how == "convert":
        intermodal.convert(source, tmp_path / "written")
    else:
        intermodal.load(source).save_pretrained(tmp_path / "written")
    original = load_file(edit_checkpoint(source, with_prefixes(PREFIXES[0])) / "model.safetensors")
    written = load_file(tmp_path / "written" / "model.safetensors")
    assert {n.removeprefix("language_model.lm") for n in original} == {
        n.removeprefix("lm").removeprefix("language_model.lm") for n in written
    }
    for name, values in written.items():
        other = original.get(name, original.get(f"language_model.{name}"))
        np.testing.assert_array_equal(values.view(np.uint8), other.view(np.uint8), err_msg=name)
    loaded, info = transformers.AutoModelForImageTextToText.from_pretrained(
        tmp_path / "written", output_loading_info=True, dtype="float32"
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_close(reference_outputs(loaded, **INPUTS)["logits"], reference_outputs(reference, **INPUTS)["logits"])
    theirs = transformers.AutoProcessor.from_pretrained(tmp_path / "written")
    image = Image.fromarray(random.integers(0, 256, (20, 60, 3), dtype=np.uint8))
    call = {"text": f"a {R.PLACEHOLDER} b", "images": image}
    ours = intermodal.load(source).processor(**call)
    for name, values in theirs(**call, return_tensors="np").items():
        np.testing.assert_array_equal(np.asarray(ours[name]), values, err_msg=name)
