"""The image-text-to-text pipeline, its auto class and its commands: transformers' own on the same checkpoint."""

import importlib.util
import json
from pathlib import Path

import intermodal
import numpy as np
import pytest
import transformers
from intermodal.commands import main
from intermodal.errors import InputError, TaskError
from intermodal.testing.reference import assert_close, reference_outputs
from PIL import Image

R = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location("image_reference", Path(__file__).with_name("image_reference.py"))
)
spec.loader.exec_module(R)

random = np.random.default_rng(7)
ONE, TWO, THREE = (Image.fromarray(random.integers(0, 256, (24, 30, 3), dtype=np.uint8)) for _ in range(3))
HERE = R.PLACEHOLDER
SHORT = {"max_new_tokens": 8}


def greedy():
    return {"generate_kwargs": {"do_sample": False}}  # new each time: transformers writes into it


def said(text, *images, role="user"):
    parts = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": text}]
    return [{"role": role, "content": parts}]


CHAT = said("what is it", ONE)
PREFILL = [*CHAT, *said("it is a", role="assistant")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return R.save(tmp_path_factory.mktemp("images"), R.make())


@pytest.fixture(scope="module")
def both(folder):
    theirs = transformers.pipeline("image-text-to-text", str(folder), dtype="float32")
    return intermodal.pipeline("image-text-to-text", folder), theirs


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"images": ONE, "text": f"a {HERE} b"}, {}),
        ({"images": [ONE, TWO], "text": f"{HERE} and {HERE}"}, {"return_full_text": False}),
        ({"images": ONE, "text": f"{HERE} b"}, {"return_tensors": True}),
        ({"images": [[ONE], [TWO, THREE]], "text": [f"a {HERE} b", f"{HERE} or {HERE}"]}, {}),
        ({"images": {"images": ONE, "text": f"a {HERE} b"}}, {}),
        ({"images": ONE, "text": f"a {HERE} b"}, {"skip_special_tokens": False}),
        ({"images": ONE, "text": f"a {HERE} b"}, {"processor_kwargs": {"add_special_tokens": False}}),
        ({"text": CHAT}, {}),
        ({"images": CHAT}, {"return_full_text": False}),
        ({"text": PREFILL}, {}),
        ({"text": PREFILL}, {"continue_final_message": False}),
        ({"text": [CHAT, said("and these", TWO, THREE)]}, {}),
        ({"text": "no image"}, {}),
        ({"text": ["no image", "nor here"]}, {"return_full_text": False}),
    ],
)
def test_results_are_those_of_transformers(both, arguments, options):
    ours, theirs = both
    got = ours(**arguments, **options, **SHORT, **greedy(), batch_size=2)
    expected = theirs(**arguments, **options, **SHORT, **greedy())
    if options.get("return_tensors"):
        expected = [{**row, "generated_token_ids": row["generated_token_ids"].tolist()} for row in expected]
    assert got == expected


def test_a_stop_sequence_ends_the_text_and_is_part_of_it(both):
    ours, theirs = both
    call = {"images": ONE, "text": f"a {HERE} b", "return_full_text": False}
    written = ours(**call, **SHORT, do_sample=False)[0]["generated_text"]
    stop = {"stop_sequence": written[1]}
    expected = theirs(**call, **stop, generate_kwargs={"do_sample": False, **SHORT})
    assert ours(**call, **stop, **SHORT, do_sample=False) == expected


def test_an_iterable_of_inputs_streams(both):
    ours, _ = both
    asked = []

    def inputs():
        for image in (ONE, TWO, THREE):
            asked.append(image)
            yield {"images": image, "text": f"{HERE} b"}

    stream = ours(inputs(), **SHORT)
    first = next(stream)
    assert len(asked) == 1
    assert [first, *stream] == ours([{"images": image, "text": f"{HERE} b"} for image in asked], **SHORT)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "needs a text"),
        ({"images": ONE}, "takes a text"),
        ({"images": ONE, "text": CHAT}, "in the messages' content"),
        ({"images": [ONE], "text": ["a", "b"]}, "a list of 2 entries"),
        ({"images": {"image": ONE, "text": "a"}}, "with image, text"),
        ({"text": "a", "return_tensors": True, "return_full_text": True}, "return_tensors gives ids"),
        ({"text": "a", "generate_kwargs": {"max_new_tokens": 2}, "max_new_tokens": 2}, "given twice"),
        ({"text": "a", "processor_kwargs": {"size": 3}}, "processor_kwargs has size"),
        ({"text": "a", "timeout": 3}, "takes no timeout"),
    ],
)
def test_what_cannot_be_read_is_refused(both, arguments, says):
    with pytest.raises(InputError, match=says):
        both[0](**arguments)


def test_a_checkpoint_without_an_image_processor_says_what_it_lacks(folder, both):
    model = intermodal.AutoModelForImageTextToText.from_pretrained(folder)
    model.processor = None
    with pytest.raises(InputError, match=r"preprocessor_config\.json"):
        intermodal.pipeline(model=model)(text="a")
    with pytest.raises(TaskError, match=r"load\(uri, 'text-generation'\)"):
        intermodal.pipeline("text-generation", both[0].model)


def test_the_auto_class_computes_what_transformers_does(folder, both):
    ours = intermodal.AutoModelForImageTextToText.from_pretrained(folder)
    theirs = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
    inputs = both[0].processor(f"a {HERE} b", ONE, return_tensors="np")
    assert_close(ours(**inputs).logits, reference_outputs(theirs, **inputs)["logits"])


def test_commands_take_images(folder, both, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("one.png", "two.png")]
    for path, image in zip(paths, (ONE, TWO), strict=True):
        image.save(path)
    short = ["--max-new-tokens", "8", "--json"]
    images = ["--image", paths[0], "--image", paths[1]]
    assert main(["generate", str(folder), f"{HERE} and {HERE}", *images, *short]) == 0
    expected = both[0]([ONE, TWO], f"{HERE} and {HERE}", return_full_text=False, **SHORT)
    assert json.loads(capsys.readouterr().out)["text"] == expected[0]["generated_text"]

    assert main(["chat", str(folder), "what is it", "--image", paths[0], *short]) == 0
    *_, answer = json.loads(capsys.readouterr().out)
    *_, expected = both[0](text=CHAT, **SHORT)[0]["generated_text"]
    assert answer == expected
