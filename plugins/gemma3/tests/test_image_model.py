"""Gemma 3 with images against transformers: logits, masks, and greedy text, with none, one and several images."""

import importlib.util
import json
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, GenerationError, InputError
from intermodal.testing.family_tests.prompts import assert_padding_changes_nothing
from intermodal.testing.reference import assert_close, reference_outputs, save_reference

R = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("image_reference", Path(__file__).with_name("image_reference.py"))
)
spec.loader.exec_module(R)

pytestmark = pytest.mark.backend

VARIANTS = {
    "plain": {},
    "vision hidden_size": {"vision_config": {"hidden_size": 64}},
    "vision intermediate_size": {"vision_config": {"intermediate_size": 96}},
    "vision num_hidden_layers": {"vision_config": {"num_hidden_layers": 3}},
    "vision num_attention_heads": {"vision_config": {"num_attention_heads": 2}},
    "vision num_channels": {"vision_config": {"num_channels": 1}},
    "image_size": {"vision_config": {"image_size": 36}},
    "patch_size": {"vision_config": {"patch_size": 2}},
    "gelu": {"vision_config": {"hidden_act": "gelu"}},
    "relu": {"vision_config": {"hidden_act": "relu"}},
    "silu": {"vision_config": {"hidden_act": "silu"}},
    "layer_norm_eps": {"vision_config": {"layer_norm_eps": 0.1}},
    "vision_use_head": {"vision_config": {"vision_use_head": True}},
    "mm_tokens_per_image": {"mm_tokens_per_image": 4},
    "no pooling": {"mm_tokens_per_image": 36},
    "image_token_index": {"image_token_index": 30},
    "an image token beyond the table": {"text_config": {"vocab_size": 38}},
    "not tied": {"tie_word_embeddings": False},
    "only the outer tie counts": {"text_config": {"tie_word_embeddings": False}},
    "text hidden_size": {"text_config": {"hidden_size": 64}},
    "a window wider than the image": {"text_config": {"sliding_window": 16}},
    "a window of one": {"text_config": {"sliding_window": 1}},
    "all layers sliding": {"text_config": {"layer_types": [R.SLIDING] * 2}},
}


def batch(config, images=(2, 0, 1)):
    """Ids with so many images in each row, their pixels, and their types."""
    random = np.random.default_rng(1)
    tokens, vision, image = config.mm_tokens_per_image, config.vision_config, config.image_token_index
    ids = random.integers(3, 30, (len(images), 2 * tokens + 12)).astype("int32")
    for row, count in enumerate(images):
        for number in range(count):
            start = 2 + row + number * (tokens + 3)
            ids[row, start : start + tokens] = image
    shape = (sum(images), vision.num_channels, vision.image_size, vision.image_size)
    return {
        "input_ids": ids,
        "pixel_values": random.normal(size=shape).astype("float32"),
        "token_type_ids": (ids == image).astype("int32"),
    }


def both(folder, reference, inputs):
    return intermodal.load(folder)(inputs), reference_outputs(reference, **inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant, tmp_path):
    reference = R.make(**VARIANTS[variant])
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    assert model.task == "image-text-to-text"
    inputs = batch(reference.config)
    expected = reference_outputs(reference, **inputs)["logits"]
    assert_close(model(inputs), expected)
    inputs.pop("token_type_ids")  # the ids say the same
    assert_close(model(inputs), expected)


@pytest.fixture(scope="module")
def reference():
    return R.make(text_config={"eos_token_id": None})


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return R.save(tmp_path_factory.mktemp("images"), reference)


@pytest.fixture(scope="module")
def model(folder):
    return intermodal.load(folder)


@pytest.mark.parametrize("images", [(1,), (2, 2), (0, 1), (0, 2, 0, 1)])
def test_images_of_a_batch(images, model, reference):
    inputs = batch(reference.config, images)
    assert_close(model(inputs), reference_outputs(reference, **inputs)["logits"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side, model, reference):
    inputs = batch(reference.config)
    pad, width = np.zeros((3, 7), "int32"), inputs["input_ids"].shape[1]
    mask = np.ones((3, width), "int32")
    for name, values in (("input_ids", inputs["input_ids"]), ("token_type_ids", inputs["token_type_ids"])):
        inputs[name] = np.concatenate([pad, values] if side == "left" else [values, pad], axis=1)
    inputs["attention_mask"] = np.concatenate([pad, mask] if side == "left" else [mask, pad], axis=1)
    text = inputs["attention_mask"].astype(bool)
    assert_close(_numpy(model(inputs))[text], reference_outputs(reference, **inputs)["logits"][text])


def test_types_that_the_caller_gives_count(model, reference):
    inputs = batch(reference.config)
    inputs["token_type_ids"][:, 4:9] = 0
    assert_close(model(inputs), reference_outputs(reference, **inputs)["logits"])


def test_text_alone(model, reference):
    inputs = {"input_ids": batch(reference.config, (0, 0))["input_ids"]}
    assert_close(model(inputs), reference_outputs(reference, **inputs)["logits"])


@pytest.mark.parametrize(
    ("architecture", "task", "extra"),
    [
        ("Gemma3Model", "feature-extraction", {}),
        ("Gemma3ForSequenceClassification", "text-classification", {"num_labels": 5}),
    ],
)
def test_other_heads(architecture, task, extra, tmp_path):
    reference = R.make(architecture, **extra)
    save_reference(reference, tmp_path)
    inputs = batch(reference.config)
    model = intermodal.load(tmp_path)
    assert model.task == task
    got, expected = model(inputs), reference_outputs(reference, **inputs)
    name = "logits" if task == "text-classification" else "last_hidden_state"
    assert_close(got if name == "logits" else got[name], expected[name])


TEXTS = [f"ab {R.PLACEHOLDER} cd {R.PLACEHOLDER} efgh", "ef", f"x {R.PLACEHOLDER} what is it that you see here"]


def pictures():
    Image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(8)
    return [Image.fromarray(random.integers(0, 256, s, dtype=np.uint8)) for s in ((31, 47, 3), (60, 20, 4), (9, 9))]


def expected_ids(reference, texts, images, new=20):
    import torch

    encoded = R.processor()(text=texts, images=images, padding=True, return_tensors="pt")
    with torch.no_grad():
        ids = reference.generate(**encoded, max_new_tokens=new, do_sample=False)
    return encoded, ids.numpy()


def test_greedy_ids(model, reference):
    one, two, three = pictures()
    encoded, expected = expected_ids(reference, TEXTS, [[one, two], [], [three]])
    got = model.generate(dict(encoded), max_new_tokens=20, do_sample=False)
    np.testing.assert_array_equal(got, expected)


def test_prompts_of_new_lengths(model, reference, monkeypatch):
    inputs = batch(reference.config, (1, 2))
    ids, mask = inputs["input_ids"], np.ones_like(inputs["input_ids"])
    before = np.random.default_rng(2).integers(3, 30, (2, 11)).astype("int32")
    longer = {
        "input_ids": np.concatenate([before, ids], axis=1),
        "attention_mask": np.concatenate([[[0] * 6 + [1] * 5, [1] * 11], mask], axis=1),
        "pixel_values": inputs["pixel_values"],
    }
    assert_padding_changes_nothing(model, [inputs, longer], monkeypatch)


def test_greedy_text_in_every_form(model, reference):
    one, two, three = pictures()
    encoded, ids = expected_ids(reference, TEXTS, [[one, two], [], [three]])
    decode = R.processor().tokenizer.decode
    length = encoded["input_ids"].shape[1]
    expected = [decode(row[length:], skip_special_tokens=True) for row in ids]
    options = {"max_new_tokens": 20, "do_sample": False}
    assert model.generate({"text": TEXTS, "images": [[one, two], None, three]}, **options) == expected
    prompts = [{"text": TEXTS[0], "images": [one, two]}, TEXTS[1], {"text": TEXTS[2], "images": three}]
    assert model.generate(prompts, **options) == expected
    assert model.generate({"text": TEXTS[2], "images": [three]}, **options) == expected[2]
    assert model.generate(TEXTS[1], **options) == expected[1]
    assert "".join(model.generate({"text": TEXTS[2], "images": three}, stream=True, **options)) == expected[2]


def test_chat(model, reference):
    image = pictures()[0]
    messages = [
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "what is it"}]}
    ]
    processor = R.processor()
    prompt = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    import torch

    with torch.no_grad():
        ids = reference.generate(**prompt, max_new_tokens=12, do_sample=False)
    expected = processor.tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert model.chat(messages, max_new_tokens=12) == expected
    plain = [{"role": "user", "content": "hi"}]
    assert model.chat([messages, plain], max_new_tokens=12)[0] == expected
    assert "".join(model.chat(messages, max_new_tokens=12, stream=True)) == expected


def test_what_contradicts_is_refused_before_anything_is_computed(model, reference):
    inputs = batch(reference.config)
    one = pictures()[0]
    with pytest.raises(InputError, match="27 times; 2 image"):
        model({**inputs, "pixel_values": inputs["pixel_values"][:2]})
    with pytest.raises(InputError, match=r"pixel_values has shape \(3, 3, 20, 20\)"):
        model({**inputs, "pixel_values": inputs["pixel_values"][:, :, :20, :20]})
    with pytest.raises(InputError, match="Text 0 has 1 image"):
        model.generate({"text": "ab", "images": one}, max_new_tokens=2)
    with pytest.raises(InputError, match="Text 0 has 0 image"):
        model.generate(f"ab {R.PLACEHOLDER}", max_new_tokens=2)
    with pytest.raises(InputError, match="list of 2 entries"):
        model.generate({"text": ["ab", "cd"], "images": one}, max_new_tokens=2)
    with pytest.raises(InputError, match="not fetched"):
        model.generate({"text": R.PLACEHOLDER, "images": "https://example.org/cat.png"}, max_new_tokens=2)
    with pytest.raises(GenerationError, match="image"):
        model.generate({"text": "ab", "image": one}, max_new_tokens=2)
    with pytest.raises(GenerationError, match="token_type_ids"):
        model.generate({**inputs, "token_type_ids": 1 - inputs["token_type_ids"]}, max_new_tokens=2)
    audio = [{"type": "image", "image": one}, {"type": "audio", "audio": "a.wav"}]
    with pytest.raises(InputError, match="type 'audio'"):
        model.chat([{"role": "user", "content": audio}], max_new_tokens=2)


def test_without_a_processor_pixels_are_passed(reference, tmp_path):
    save_reference(reference, tmp_path)
    model = intermodal.load(tmp_path)
    inputs = {name: values for name, values in batch(reference.config, (1,)).items() if name != "token_type_ids"}
    assert model.generate(inputs, max_new_tokens=3).shape == (1, inputs["input_ids"].shape[1] + 3)
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        model.generate({"text": "ab", "images": pictures()[0]}, max_new_tokens=2)


def test_a_keras_file_keeps_the_processor(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = intermodal.load(tmp_path / "model.keras")
    prompt = {"text": TEXTS[2], "images": pictures()[2]}
    assert again.generate(prompt, max_new_tokens=6) == model.generate(prompt, max_new_tokens=6)


REFUSED = {
    "vision_config.hidden_act": {"vision_config": {"hidden_act": "quick_gelu"}},
    "vision_config.model_type": {"vision_config": {"model_type": "clip_vision_model"}},
    "text_config.model_type": {"text_config": {"model_type": "llama"}},
    "vision_config.image_size": {"image_size": 25, "vision_config": {"image_size": 25}},
    "vision_config.quantization_config": {"vision_config": {"quantization_config": {"bits": 4}}},
    "text_config.attn_logit_softcapping": {"text_config": {"attn_logit_softcapping": 5.0}},
    "text_config.use_bidirectional_attention": {"text_config": {"use_bidirectional_attention": True}},
    "text_config.final_logit_softcapping": {"text_config": {"final_logit_softcapping": 3.0}},
    "text_config.hidden_size": {"text_config": {"hidden_size": "many"}},
    "mm_tokens_per_image": {"mm_tokens_per_image": 10},
    "image_token_index": {"image_token_id": 7},
    "text_config": {"text_config": 3},
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_config_that_cannot_be_honoured_is_refused_with_the_path_of_the_key(key):
    from intermodal_gemma3.image_config import GemmaConfig

    raw = json.loads(json.dumps(R.TINY))
    for name, value in REFUSED[key].items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) else value
    with pytest.raises(ConfigError, match=rf"\n  {key.replace('.', '[.]')}\b"):
        GemmaConfig.from_hf(raw)


def _numpy(tensor):
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
