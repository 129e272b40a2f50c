"""The lines that users of transformers type, run with ours and with theirs."""

import intermodal
import numpy as np
import pytest
import transformers
from intermodal.errors import GenerationError, InputError
from intermodal.testing.reference import assert_close

pytestmark = pytest.mark.backend

TEXTS = ["the cat sat, the cats", "a"]


def to_numpy(value) -> np.ndarray:
    from keras import ops

    return np.asarray(value.detach() if hasattr(value, "detach") else ops.convert_to_numpy(value))


def loaded(library, auto: str, folder):
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    return tokenizer, getattr(library, auto).from_pretrained(folder)


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_classifying(classifier, kind):
    results = []
    for library, own in ((intermodal, kind), (transformers, "pt")):
        tokenizer, model = loaded(library, "AutoModelForSequenceClassification", classifier)
        inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors=own)
        outputs = model(**inputs)
        assert outputs.logits is outputs[0] is outputs["logits"]
        logits = to_numpy(outputs.logits)
        results.append((logits, [model.config.id2label[int(i)] for i in logits.argmax(-1)]))
    assert_close(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_filling_a_mask(masked):
    results = []
    for library in (intermodal, transformers):
        tokenizer, model = loaded(library, "AutoModelForMaskedLM", masked)
        inputs = tokenizer("the [MASK] sat", return_tensors="pt")
        at = int((inputs.input_ids == tokenizer.mask_token_id)[0].nonzero()[0])
        logits = to_numpy(model(**inputs).logits)
        results.append(tokenizer.decode(int(logits[0, at, : len(tokenizer)].argmax())))
    assert results[0] == results[1]


def test_generating(causal):
    results = []
    for library, kind in ((intermodal, "np"), (transformers, "pt")):
        tokenizer, model = loaded(library, "AutoModelForCausalLM", causal)
        inputs = tokenizer(TEXTS, padding=True, return_tensors=kind)
        out = np.asarray(model.generate(**inputs, max_new_tokens=8, do_sample=False))
        assert out.shape[1] <= inputs["input_ids"].shape[1] + 8
        new = out[:, inputs["input_ids"].shape[1] :]
        results.append((out.tolist(), tokenizer.batch_decode(new, skip_special_tokens=True)))
    assert results[0] == results[1]


def test_generating_from_a_chat(causal):
    messages = [{"role": "user", "content": "the cat"}]
    results = []
    for library, kind in ((intermodal, "np"), (transformers, "pt")):
        tokenizer, model = loaded(library, "AutoModelForCausalLM", causal)
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors=kind)
        out = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        results.append(np.asarray(out)[0].tolist())
    assert results[0] == results[1]


def test_other_spellings_of_a_prompt(causal):
    tokenizer, model = loaded(intermodal, "AutoModelForCausalLM", causal)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="np")
    ids, mask = inputs.input_ids, inputs.attention_mask
    expected = model.generate({"input_ids": ids, "attention_mask": mask}, max_new_tokens=3, do_sample=False).tolist()
    options = {"max_new_tokens": 3, "do_sample": False}
    for call in (
        lambda: model.generate(ids, attention_mask=mask, **options),
        lambda: model.generate(inputs, **options),
        lambda: model.generate(inputs=ids, attention_mask=mask, **options),
        lambda: model.generate(input_ids=ids.tolist(), attention_mask=mask.tolist(), **options),
    ):
        assert call().tolist() == expected
    for call in (
        lambda: model.generate(**options),
        lambda: model.generate(ids, input_ids=ids, **options),
        lambda: model.generate("the cat", attention_mask=mask, **options),
    ):
        with pytest.raises(GenerationError):
            call()


def test_calls_of_keras_give_tensors(classifier):
    tokenizer, model = loaded(intermodal, "AutoModelForSequenceClassification", classifier)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="np")
    outputs = model(**inputs)
    for tensor in (model(dict(inputs)), model(inputs), model.predict(dict(inputs), verbose=0)):
        assert_close(tensor, to_numpy(outputs.logits))
    assert len(outputs.to_tuple()) == 1
    assert model(**inputs, return_dict=True, output_attentions=False).keys() == {"logits"}
    model.compile("sgd", "mse")
    model.fit(dict(inputs), np.zeros((2, 3), "float32"), verbose=0)


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ({"labels": np.zeros(2)}, r"labels is no input.*model\.fit"),
        ({"output_hidden_states": True}, "output_hidden_states"),
        ({"return_dict": False}, "to_tuple"),
        ({"nonsense": "x"}, "nonsense"),
    ],
)
def test_keywords_that_are_no_inputs(classifier, keyword, message):
    tokenizer, model = loaded(intermodal, "AutoModelForSequenceClassification", classifier)
    with pytest.raises(InputError, match=message):
        model(**tokenizer(TEXTS, padding=True, return_tensors="np"), **keyword)


def test_saving_and_reading_back(causal, tmp_path):
    tokenizer, model = loaded(intermodal, "AutoModelForCausalLM", causal)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert model.num_parameters() == theirs.num_parameters()
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    assert_close(model(**inputs).logits, to_numpy(theirs(**inputs).logits))
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")(TEXTS) == dict(tokenizer(TEXTS))
