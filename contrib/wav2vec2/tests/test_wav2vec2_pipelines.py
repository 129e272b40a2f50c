"""Pipelines of recordings: the results of transformers' on the same checkpoints, and sound files as they are found."""

import io
import json

import intermodal
import numpy as np
import pytest
from intermodal.commands import main
from intermodal.errors import InputError, TaskError, TokenizerError
from intermodal.testing.reference import make_reference

transformers = pytest.importorskip("transformers")

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLUCMFWYGPBVKXJQZ'.-,;:?!*"]
RATE = 16000
random = np.random.default_rng(5)


def sound(seconds, frequency=220.0, rate=RATE):
    """A tone that becomes louder, with noise."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(frequency)).standard_normal(len(time))
    return (0.3 * time * np.sin(2 * np.pi * frequency * time) + 0.05 * noise).astype("float32")


ONE, TWO, THREE = sound(0.5), sound(0.31, 330.0), sound(0.5, 440.0)


def checkpoint(folder, head, tiny, **fields):
    """A checkpoint with the files of a recogniser or a classifier."""
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=fields.get("feat_extract_norm") == "layer")
    make_reference(f"Wav2Vec2For{head}", {**tiny, "vocab_size": len(LETTERS), **fields}).save_pretrained(folder)
    extractor.save_pretrained(folder)
    if head == "CTC":
        (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(LETTERS)}))
        transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return folder


def both(task, folder, **options):
    theirs = transformers.pipeline(task, str(folder), **options)
    return intermodal.pipeline(task, folder, **options), theirs


def same(got, expected):
    """Same shape, keys and text; numbers within 1e-4."""
    assert type(got) is (float if isinstance(expected, float) else type(expected))
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            same(got[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            same(one, other)
    else:
        assert got == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory, tiny):
    return both(
        "audio-classification",
        checkpoint(tmp_path_factory.mktemp("labels"), "SequenceClassification", tiny, num_labels=7),
    )


@pytest.fixture(scope="module", params=["group", "layer"])
def recognisers(request, tmp_path_factory, tiny):
    fields = {"feat_extract_norm": request.param, "do_stable_layer_norm": request.param == "layer"}
    return both("automatic-speech-recognition", checkpoint(tmp_path_factory.mktemp("text"), "CTC", tiny, **fields))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 2},
        {"top_k": 50},
        {"top_k": None},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none", "top_k": 3},
    ],
)
def test_labels_are_those_of_transformers(classifiers, options):
    ours, theirs = classifiers
    for recording in (ONE, {"raw": TWO, "sampling_rate": RATE}, {"array": THREE, "sampling_rate": RATE, "path": "x"}):
        same(ours(recording, **options), theirs(recording, **options))
    same(ours([ONE, TWO, THREE], **options), theirs([ONE, TWO, THREE], **options))


@pytest.mark.parametrize(
    "fields",
    [
        {"num_labels": 1},
        {"num_labels": 2, "problem_type": "multi_label_classification"},
        {"num_labels": 1, "problem_type": "regression"},
    ],
)
def test_the_config_says_what_makes_scores(tmp_path, tiny, fields):
    ours, theirs = both("audio-classification", checkpoint(tmp_path, "SequenceClassification", tiny, **fields))
    same(ours(ONE), theirs(ONE))


@pytest.mark.parametrize("timestamps", [None, "char", "word"])
def test_text_is_that_of_transformers(recognisers, timestamps):
    ours, theirs = recognisers
    options = {} if timestamps is None else {"return_timestamps": timestamps}
    for recording in (ONE, TWO.astype("float64"), np.stack([ONE, THREE])):
        same(ours(recording, **options), theirs(recording, **options))
    same(ours({"raw": ONE, "sampling_rate": RATE}, **options), theirs({"raw": ONE, "sampling_rate": RATE}, **options))
    assert len(ours(ONE)["text"]) > 5


@pytest.mark.parametrize(("stride", "timestamps"), [(None, "word"), ((0.03, 0.01), "char"), (0, "word")])
def test_pieces_of_a_recording_are_those_of_transformers(recognisers, stride, timestamps):
    ours, theirs = recognisers
    long = np.concatenate([ONE, TWO, THREE, ONE[::-1]])
    options = {"chunk_length_s": 0.2, "stride_length_s": stride, "return_timestamps": timestamps}
    same(ours(long, **options), theirs(long, **options))
    same(ours(long, batch_size=3, **options), ours(long, **options))


def test_batches_change_nothing(recognisers, classifiers):
    recordings = [ONE, TWO, THREE, TWO[:3000], ONE[::-1].copy(), THREE[:3000]]
    for pipeline, _ in (recognisers, classifiers):
        alone = [pipeline(recording) for recording in recordings]
        for size in (2, 6):
            same(pipeline(recordings, batch_size=size), alone)
        stream = pipeline((recording for recording in recordings), batch_size=2)
        same([next(stream) for _ in range(3)], alone[:3])


# --- sound files ------------------------------------------------------------------------------------------------------


def encoded(samples, rate=RATE, kind="WAV", subtype="FLOAT"):
    soundfile = pytest.importorskip("soundfile", reason="needs intermodal[audio]")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def test_a_file_is_its_samples(classifiers, tmp_path):
    ours, _ = classifiers
    expected = ours(ONE)
    (tmp_path / "one.wav").write_bytes(encoded(ONE))
    for source in (str(tmp_path / "one.wav"), tmp_path / "one.wav", encoded(ONE)):
        same(ours(source), expected)
    exact = (np.round(ONE * 32768) / 32768).astype("float32")
    same(ours(encoded(exact, kind="FLAC", subtype="PCM_16")), ours(exact))
    same(ours(encoded(np.stack([ONE, THREE], axis=1))), ours((ONE + THREE) / 2))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled(classifiers, rate):
    from intermodal.processing.recordings import read_recording

    pytest.importorskip("soxr", reason="needs intermodal[audio]")
    ours, _ = classifiers
    tone = {n: np.sin(2 * np.pi * 440 * np.arange(n) / n).astype("float32") for n in (rate, RATE)}  # of one second
    got = read_recording({"raw": tone[rate], "sampling_rate": rate}, RATE)
    assert got.shape == (RATE,)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[500:-500], tone[RATE][500:-500], atol=1e-3)
    same(ours(encoded(tone[rate], rate)), ours({"array": tone[rate], "sampling_rate": rate}))


def test_what_is_no_recording_is_refused(classifiers, recognisers, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    refused = {
        "cannot be decoded": b"RIFF no sound at all",
        "cannot be decoded: ": tmp_path / "text.wav",
        "cannot be read": str(tmp_path / "none.wav"),
        "is not fetched": "https://example.org/sound.wav",
        "expected floats from -1 to 1": (ONE * 32768).astype("int16"),
        "at most 2 channels": np.zeros((900, 3), "float32"),
        "first frame takes": ONE[:20],
        "sampling_rate is 0": {"raw": ONE, "sampling_rate": 0},
        "under \"sampling_rate\" how many": {"raw": ONE},
        "got raw, sampling_rate, stride": {"raw": ONE, "sampling_rate": RATE, "stride": (1, 1)},
        "got a float": [0.5, 0.25],
    }  # fmt: skip
    pytest.importorskip("soundfile", reason="needs intermodal[audio]")
    for pipeline, _ in (classifiers, recognisers):
        for message, source in refused.items():
            with pytest.raises(InputError, match=message):
                pipeline(source)
    with pytest.raises(InputError, match="takes a path"):
        classifiers[0](7)


def test_what_a_pipeline_refuses(classifiers, recognisers, tmp_path, tiny):
    for options, message in (({"top_k": 0}, "top_k=0"), ({"function_to_apply": "relu"}, "function_to_apply='relu'")):
        with pytest.raises(InputError, match=message):
            classifiers[0](ONE, **options)
    for options, message in (
        ({"return_timestamps": True}, "return_timestamps=True: expected 'char' or 'word'"),
        ({"chunk_length_s": -1}, "chunk_length_s=-1"),
        ({"chunk_length_s": 1, "stride_length_s": (1, 2, 3)}, "stride_length_s"),
        ({"chunk_length_s": 0.2, "stride_length_s": 0.1}, "no longer than what they leave"),
        ({"generate_kwargs": {}}, "takes no generate_kwargs"),
    ):
        with pytest.raises(InputError, match=message):
            recognisers[0](ONE, **options)
    with pytest.raises(TaskError, match="holds no trained"):
        intermodal.pipeline("automatic-speech-recognition", classifiers[0].model.report.uri)
    folder = checkpoint(tmp_path, "CTC", tiny)
    (folder / "vocab.json").unlink()
    with pytest.raises(TokenizerError, match=r"no vocab.json of letters"):
        intermodal.pipeline("automatic-speech-recognition", folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config.json"):
        intermodal.pipeline("automatic-speech-recognition", folder)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_classify_audio_prints_labels(classifiers, tmp_path, capsys):
    files = [tmp_path / "one.wav", tmp_path / "two.flac"]
    files[0].write_bytes(encoded(ONE))
    files[1].write_bytes(encoded(TWO, kind="FLAC", subtype="PCM_24"))
    paths, expected = [str(file) for file in files], classifiers[0](files, top_k=2)
    assert main(["classify-audio", classifiers[0].model.report.uri, *paths, "--top-k", "2", "--json"]) == 0
    same(json.loads(capsys.readouterr().out), expected)
    assert main(["classify-audio", classifiers[0].model.report.uri, *paths, "--top-k", "1"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["recording", "label", "score"]
    assert [line.split()[-2] for line in lines] == [labels[0]["label"] for labels in expected]


def test_transcribe_prints_text_and_times(recognisers, tmp_path, capsys):
    path, uri = tmp_path / "one.wav", recognisers[0].model.report.uri
    path.write_bytes(encoded(ONE))
    assert main(["transcribe", uri, str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [recognisers[0](ONE)]
    assert main(["transcribe", uri, str(path), "--timestamps", "word", "--chunk", "0.2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    chunks = recognisers[0](ONE, return_timestamps="word", chunk_length_s=0.2)["chunks"]
    assert head.split() == ["recording", "start", "end", "text"]
    assert len(lines) == len(chunks)
