"""The processor against transformers' own: words and boxes given, questions, labels, overflow, padding, export."""

import importlib.util
import shutil
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.errors import InputError


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


R = beside("document_reference")
TINY = beside("test_layoutlmv2_conformance").TINY
BOXES = R.boxes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of headers and processing files; its weights are not read here."""
    target = tmp_path_factory.mktemp("layoutlmv2")
    R.save(target, {**TINY, "vocab_size": len(R.VOCABULARY)})
    return target


@pytest.fixture(scope="module")
def ours(folder):
    return intermodal.AutoProcessor.from_pretrained(str(folder))


TWO = [R.WORDS, R.WORDS[:4]]
TWO_BOXES = [BOXES, R.boxes(4, seed=1)]
CALLS = {
    "words": ((R.WORDS,), {"boxes": BOXES}),
    "a question": ((R.QUESTION, R.WORDS), {"boxes": BOXES}),
    "labels": ((R.WORDS,), {"boxes": BOXES, "word_labels": list(range(9))}),
    "truncated": ((R.WORDS,), {"boxes": BOXES, "truncation": True, "max_length": 7}),
    "padded": ((R.WORDS,), {"boxes": BOXES, "padding": "max_length", "max_length": 30, "word_labels": list(range(9))}),
    "two pages": ((TWO,), {"boxes": TWO_BOXES, "padding": True}),
    "labels of two pages": (
        (TWO,),
        {"boxes": TWO_BOXES, "padding": True, "word_labels": [list(range(9)), list(range(4))]},
    ),
    "questions": (([R.QUESTION, "When?"], TWO), {"boxes": TWO_BOXES, "padding": True, "return_length": True}),
    "overflow": (
        (R.QUESTION, R.WORDS),
        {
            **{"boxes": BOXES, "truncation": "only_second", "max_length": 12, "stride": 2, "padding": "max_length"},
            **{"return_overflowing_tokens": True, "return_offsets_mapping": True},
        },
    ),
    "overflow of two pages": (
        (TWO,),
        {
            **{"boxes": TWO_BOXES, "truncation": True, "max_length": 8, "stride": 1, "padding": True},
            **{"return_overflowing_tokens": True, "return_offsets_mapping": True},
        },
    ),
    "no special tokens": (
        (R.WORDS,),
        {"boxes": BOXES, "add_special_tokens": False, "return_special_tokens_mask": True},
    ),
    "without types": ((R.WORDS,), {"boxes": BOXES, "return_token_type_ids": False, "return_attention_mask": False}),
}


AS_ARRAYS = [call for call, (_, options) in CALLS.items() if "padding" in options or call == "words"]


@pytest.mark.parametrize(
    ("call", "tensors"), [*((call, None) for call in CALLS), *((call, "np") for call in AS_ARRAYS)]
)
def test_a_call_returns_what_transformers_returns(call, tensors, ours):
    texts, options = CALLS[call]
    images = [R.page(), R.page(1)] if "two" in call or call == "questions" else R.page()
    expected = R.processor()(images, *texts, **options, return_tensors=tensors)
    got = ours(images, *texts, **options, return_tensors=tensors)
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(got[name]), np.asarray(values), err_msg=name)
        assert np.asarray(got[name]).dtype.kind == np.asarray(values).dtype.kind, name
    assert type(got["input_ids"]) is type(expected["input_ids"])


@pytest.mark.parametrize("size", [{"height": 32, "width": 64}, {"height": 224, "width": 224}])
@pytest.mark.parametrize("resample", [0, 2, 3])
def test_pixels_are_transformers_bit_for_bit(size, resample, folder):
    options = {"size": size, "resample": resample}
    ours = intermodal.AutoImageProcessor.from_pretrained(str(folder), **options)
    expected = R.processor(**options).image_processor(R.page(3), return_tensors="np")["pixel_values"]
    got = ours(R.page(3))["pixel_values"]
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_special_tokens_have_the_boxes_and_labels_that_the_files_say(folder, tmp_path):
    import json

    import transformers

    changed = shutil.copytree(folder, tmp_path / "changed")
    path = changed / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {"cls_token_box": [1, 1, 1, 1], "sep_token_box": [2, 2, 2, 2], "pad_token_box": [3, 3, 3, 3]}
    config |= {"only_label_first_subword": False, "pad_token_label": -7}
    path.write_text(json.dumps(config))
    theirs = transformers.LayoutLMv2Processor(
        R.processor().image_processor, transformers.LayoutLMv2Tokenizer.from_pretrained(changed)
    )
    options = {"boxes": BOXES, "word_labels": list(range(9)), "padding": "max_length", "max_length": 25}
    got = intermodal.AutoProcessor.from_pretrained(str(changed))(R.page(), R.WORDS, **options)
    expected = theirs(R.page(), R.WORDS, **options)
    for name in ("bbox", "labels", "input_ids"):
        assert got[name] == expected[name], name


def test_transformers_reads_the_exported_processor(folder, tmp_path):
    import transformers
    from transformers.models.layoutlmv2.image_processing_pil_layoutlmv2 import LayoutLMv2ImageProcessorPil

    model = intermodal.load(folder, progress=False)
    assert model.processor is not None
    model.save_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert type(tokenizer).__name__ == "LayoutLMv2Tokenizer"
    image_processor = LayoutLMv2ImageProcessorPil.from_pretrained(tmp_path / "out")
    assert not image_processor.apply_ocr
    theirs = transformers.LayoutLMv2Processor(image_processor, tokenizer)
    got, expected = (p(R.page(), R.QUESTION, R.WORDS, boxes=BOXES) for p in (theirs, R.processor()))
    for name, values in expected.items():
        np.testing.assert_array_equal(np.asarray(got[name]), np.asarray(values), err_msg=name)


REFUSED = {
    "boxes that are fewer": ((R.WORDS,), {"boxes": BOXES[:3]}, "9 words and 3 boxes"),
    "pixels for boxes": ((["a"],), {"boxes": [[0, 0, 2000, 10]]}, "thousandths"),
    "a box the wrong way round": ((["a"],), {"boxes": [[9, 0, 3, 10]]}, "left, top, right and bottom"),
    "no boxes": ((R.WORDS,), {}, "words and boxes are needed"),
    "labels that are fewer": ((R.WORDS,), {"boxes": BOXES, "word_labels": [1]}, "one label for each word"),
    "labels beside a question": (
        (R.QUESTION, R.WORDS),
        {"boxes": BOXES, "word_labels": list(range(9))},
        "question beside them has none",
    ),
    "overflow without offsets": ((R.WORDS,), {"boxes": BOXES, "return_overflowing_tokens": True}, "offsets_mapping"),
    "a string for words": (("Invoice",), {"boxes": BOXES[:1]}, "a list of strings"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_belong_together_is_refused(case, ours):
    texts, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        ours(R.page(), *texts, **options)


def test_words_are_read_from_the_page(folder):
    """With Tesseract as transformers calls it; where it is missing, the error says what to install."""
    reads = intermodal.AutoImageProcessor.from_pretrained(str(folder), apply_ocr=True)
    if not importlib.util.find_spec("pytesseract") or not shutil.which("tesseract"):
        with pytest.raises(InputError, match=r"apt-get install tesseract-ocr"):
            reads(R.page())
        pytest.skip("tesseract and pytesseract are not both installed; the error that says so was tested")
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(page).text((40, 60), "Total due: 42.00 EUR", fill="black", font_size=40)
    expected = R.processor(apply_ocr=True).image_processor(page)
    got = reads(page)
    assert got["words"] == expected["words"]
    assert got["words"][0]
    assert got["boxes"] == expected["boxes"]


def test_words_and_boxes_are_refused_where_the_page_is_read(folder):
    ours = intermodal.AutoProcessor.from_pretrained(str(folder))
    reads = type(ours)(ours.tokenizer, ours.image_processor.changed({"apply_ocr": True}), ours.config, ours.raw)
    with pytest.raises(InputError, match="apply_ocr=False"):
        reads(R.page(), R.WORDS, boxes=BOXES)
