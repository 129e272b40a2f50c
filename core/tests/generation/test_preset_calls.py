"""`generate` and `compile` of presets, beside KerasHub 0.32.0 and transformers."""

import json
import shutil

import intermodal
import keras
import numpy as np
import pytest
from intermodal.errors import GenerationError, TokenizerError
from intermodal.generation.samplers import read_sampler
from intermodal.testing.reference import make_reference, save_reference
from intermodal_llama3 import Llama3CausalLM

BROWN, EMOJI = "The quick brown", "emoji"

# What KerasHub 0.32.0 on JAX gave for the folder below: `Llama3CausalLM.from_preset(folder)`, then
# `compile(sampler="greedy")` and these calls of `generate`.
KERAS_HUB = [
    (
        "The quick brown",
        {"max_length": 16},
        "The quick brown\u021b\ufffd\ufffd\u304d\ufffd\u0013\ufffd,\ufffd\ufffd\ufffd\ufffd\u02e8que",
    ),
    (
        ["The quick brown", "emoji"],
        {"max_length": 16},
        [
            "The quick brown\u021b\ufffd\ufffd\u304d\ufffd\u0013\ufffd,\ufffd\ufffd\ufffd\ufffd\u02e8que",
            "emojido\u000f\u000f\u000f\u000f\u000f\ufffd\u3059 \u6771\u4eac\u306b\u884c\u304d\u307e\u3059%\ufffd\ufffd",
        ],
    ),
    (
        ["emoji"],
        {"max_length": 16},
        ["emojido\u000f\u000f\u000f\u000f\u000f\ufffd\u3059 \u6771\u4eac\u306b\u884c\u304d\u307e\u3059%\ufffd\ufffd"],
    ),
    (
        ["The quick brown", "emoji"],
        {"max_length": 16, "strip_prompt": True},
        [
            "\u021b\ufffd\ufffd\u304d\ufffd\u0013\ufffd,\ufffd\ufffd\ufffd\ufffd\u02e8que",
            "do\u000f\u000f\u000f\u000f\u000f\ufffd\u3059 \u6771\u4eac\u306b\u884c\u304d\u307e\u3059%\ufffd\ufffd",
        ],
    ),
    (
        "emoji",
        {"max_length": 16, "stop_token_ids": None},
        "emojido\u000f\u000f\u000f\u000f\u000f\ufffd\u3059 \u6771\u4eac\u306b\u884c\u304d\u307e\u3059%\ufffd\ufffd",
    ),
    ("The quick brown", {"max_length": 16, "stop_token_ids": (316,)}, "The quick brown\u021b\ufffd\ufffd\u304d\ufffd"),
    (
        ["The quick brown", "emoji"],
        {"max_length": 16, "stop_token_ids": [316], "strip_prompt": True},
        [
            "\u021b\ufffd\ufffd\u304d\ufffd",
            "do\u000f\u000f\u000f\u000f\u000f\ufffd\u3059 \u6771\u4eac\u306b\u884c\u304d\u307e\u3059%\ufffd\ufffd",
        ],
    ),
    ("<|other|>The <eos>quick", {"max_length": 16}, "The quick\u000f\u3002\u3002\u000b\u3002s over= "),
    ("", {"max_length": 8}, "\u000fXS)SRX"),
]


def write_model(folder, tokenizer_folder):
    """A Llama whose weights come from numpy, and that has as many tokens as its tokenizer."""
    import torch

    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_folder / name, folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    tokens = 1 + max(*vocabulary["model"]["vocab"].values(), *(token["id"] for token in vocabulary["added_tokens"]))
    reference = make_reference("LlamaForCausalLM", {**FIELDS, "vocab_size": tokens})
    numbers = np.random.default_rng(5)
    with torch.no_grad():
        for _, parameter in sorted(reference.named_parameters()):
            scale, centre = (0.3, 1.0) if parameter.ndim == 1 else (0.15, 0.0)
            parameter.copy_(torch.tensor(centre + scale * numbers.standard_normal(parameter.shape)))
    return save_reference(reference, folder), reference


FIELDS = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": None,
}


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("preset"), folder)


@pytest.fixture(scope="module")
def preset(both):
    model = Llama3CausalLM.from_preset(both[0], progress=False)
    model.compile(sampler="greedy")
    return model


@pytest.mark.backend
@pytest.mark.parametrize(("inputs", "arguments", "expected"), KERAS_HUB)
def test_gives_what_keras_hub_gives(preset, inputs, arguments, expected):
    assert preset.generate(inputs, **arguments) == expected


@pytest.mark.backend
def test_ids_are_those_of_transformers(both, preset):
    import torch

    ids = preset.tokenizer([BROWN], return_tensors="np")["input_ids"]
    given = torch.tensor(ids)
    mask = torch.ones_like(given)  # else the first token is taken for padding, which has its id
    expected = both[1].generate(given, attention_mask=mask, max_length=24, do_sample=False, pad_token_id=0).numpy()
    np.testing.assert_array_equal(preset.generate({"input_ids": ids}, max_length=24), expected)
    stripped = preset.generate({"input_ids": ids}, max_length=24, strip_prompt=True)
    np.testing.assert_array_equal(stripped, expected[:, ids.shape[1] :])


def test_goes_on_to_what_the_context_holds(preset):
    ids = preset.tokenizer([BROWN], return_tensors="np")["input_ids"]
    assert preset.generate({"input_ids": ids}, stop_token_ids=None).shape == (1, FIELDS["max_position_embeddings"])


def test_the_checkpoint_says_what_ends_a_text_and_the_sampler_how_tokens_are_chosen(both, folder, tmp_path):
    shutil.copytree(both[0], tmp_path / "model")
    settings = {"eos_token_id": 316, "do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0, "num_beams": 4}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(settings))
    model = Llama3CausalLM.from_preset(tmp_path / "model", progress=False)
    model.compile(sampler="greedy")
    stopped = next(text for inputs, given, text in KERAS_HUB if inputs == BROWN and "stop_token_ids" in given)
    assert model.generate(BROWN, max_length=16) == stopped


@pytest.mark.backend
def test_draws_as_keras_hub_does_until_it_is_told_otherwise(both):
    model = Llama3CausalLM.from_preset(both[0], progress=False)
    assert model.sampler == read_sampler({"class_name": "top_k", "config": {"k": 5, "temperature": 1.0}})
    drawn = {model.generate(BROWN, max_length=16) for _ in range(8)}
    assert len(drawn) > 1
    ids = model.tokenizer([BROWN], return_tensors="np")["input_ids"]
    logits = keras.ops.convert_to_numpy(model(ids))[0, -1]
    likeliest = set(np.argsort(-logits)[:5].tolist())
    first = {int(model.generate({"input_ids": ids}, max_length=ids.shape[1] + 1)[0, -1]) for _ in range(12)}
    assert first <= likeliest
    assert len(first) > 1


@pytest.mark.backend
def test_a_seed_gives_the_same_texts_in_the_same_order(both):
    model = Llama3CausalLM.from_preset(both[0], progress=False)
    texts = []
    for _ in range(2):
        model.compile(sampler={"class_name": "random", "config": {"seed": 3}})
        texts.append([model.generate(BROWN, max_length=16) for _ in range(3)])
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3


def test_compile_trains_as_keras_hub_does(both):
    model = Llama3CausalLM.from_preset(both[0], progress=False)
    model.compile(sampler="greedy")
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 2e-5)
    ids = np.random.default_rng(0).integers(0, 300, (4, 12)).astype("int32")
    history = model.fit({"input_ids": ids}, np.roll(ids, -1, axis=1), epochs=2, batch_size=4, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert "weighted_sparse_categorical_accuracy" in history or "sparse_categorical_accuracy" in history


def test_keras_file_keeps_sampler_and_class(both, preset, tmp_path):
    preset.save(tmp_path / "model.keras")
    again = intermodal.load(tmp_path / "model.keras")
    assert isinstance(again, Llama3CausalLM)
    assert again.sampler == read_sampler("greedy")
    assert again.generate(BROWN, max_length=16) == KERAS_HUB[0][2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 3}, "max_length=3 counts the prompt"),
        ({"max_length": 65}, "max_length=64"),
        ({"stop_token_ids": "eos"}, '"auto"'),
        ({"stop_token_ids": ["</s>"]}, "eos_token_id"),
    ],
)
def test_refuses_what_it_cannot_do(preset, arguments, message):
    with pytest.raises(GenerationError, match=message):
        preset.generate(BROWN, **arguments)


def test_refuses_the_inputs_of_a_detached_preprocessor(preset):
    with pytest.raises(GenerationError, match="got a dict with token_ids, padding_mask"):
        preset.generate({"token_ids": [[1]], "padding_mask": [[1]]})


def test_text_needs_a_tokenizer(both, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(both[0] / name, tmp_path)
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        Llama3CausalLM.from_preset(tmp_path, progress=False).generate(BROWN)
