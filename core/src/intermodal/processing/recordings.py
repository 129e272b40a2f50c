"""Recordings as users pass them, as samples of one channel at one rate: paths, bytes, arrays, and dicts of them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.errors import InputError

if TYPE_CHECKING:
    import numpy as np

MAX_FILE = 1 << 30
"""Bytes of a sound file."""

MAX_SAMPLES = 1 << 28
"""Samples of all channels of a recording: some four and a half hours at 16 kHz, 1 GB when decoded."""

MAX_RATE = 1 << 20
"""Samples a second: more than any device takes."""

EXPECTED = (
    "a path, the bytes of a sound file, an array of samples, or "
    '{"raw" or "array": samples, "sampling_rate": samples a second}'
)


def read_recording(source: Any, rate: int) -> np.ndarray:
    """A recording as (samples,) float32, of one channel and so many samples a second.

    Args:
        source: see `EXPECTED`. An array alone has that rate already. Two channels, of an array (2, samples) or of a
            file, are averaged.
        rate: samples a second of the result. Files, and arrays that come with another rate, are resampled.

    Raises:
        InputError: it is something else, cannot be decoded, is too long, or is on the web, from where nothing is
            fetched; or a library that is needed is not installed.
    """
    if isinstance(source, str | os.PathLike):
        return resampled(*_decoded(_file(source)), rate)
    if isinstance(source, bytes | bytearray | memoryview):
        return resampled(*_decoded(bytes(source)), rate)
    own = rate
    if isinstance(source, Mapping):
        samples = source.get("raw") if source.get("raw") is not None else source.get("array")
        unknown = sorted(source.keys() - {"raw", "array", "sampling_rate", "path"})
        if samples is None or "sampling_rate" not in source or unknown:
            raise InputError(
                'A dict with a recording has its samples under "raw" or "array", and under "sampling_rate" how many '
                f"there are a second; got {', '.join(map(str, source))}."
            )
        own = source["sampling_rate"]
        if isinstance(own, bool) or not isinstance(own, int) or not 1 <= own <= MAX_RATE:
            raise InputError(f"sampling_rate is {own!r}, expected an integer from 1 to {MAX_RATE}.")
        source = samples
    return resampled(_mono(_array(source)), own, rate)


def resampled(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
    """Samples (n,) at another rate, about n · rate / own of them, float32.

    Raises:
        InputError: the rates differ, and the library that resamples is not installed.
    """
    if own == rate:
        return samples
    try:
        import soxr
    except ImportError:
        raise InputError(
            f"The recording has {own} samples a second, and the model takes {rate}. Resampling needs soxr, which is "
            'not installed: pip install "intermodal[audio]"'
        ) from None
    import numpy as np

    return np.ascontiguousarray(soxr.resample(samples, own, rate), np.float32)


def _file(source: str | os.PathLike[str]) -> bytes:
    if isinstance(source, str) and "://" in source[:16]:
        raise InputError(
            f"{source[:80]} is not fetched: recordings come from this machine alone, so that an input cannot make it "
            "call others. Download the file and pass its path."
        )
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise InputError(f"{path} has {size} bytes; a recording may have {MAX_FILE}.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The recording {path} cannot be read: {error.strerror or error}.") from error


def _decoded(content: bytes) -> tuple[np.ndarray, int]:
    """Samples of one channel, and how many there are a second. The header is looked at before anything is decoded."""
    try:
        import soundfile
    except ImportError:
        raise InputError(
            'Sound files are read with soundfile, which is not installed: pip install "intermodal[audio]"'
        ) from None
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.frames * file.channels > MAX_SAMPLES or file.samplerate > MAX_RATE:
                raise InputError(
                    f"The recording has {file.frames} samples of {file.channels} channels, {file.samplerate} a second: "
                    f"more than {MAX_SAMPLES} in all, or {MAX_RATE} a second. Cut it into parts."
                )
            samples = file.read(dtype="float32", always_2d=True)
            own = file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:
        raise InputError(
            f"The recording cannot be decoded: {error} soundfile reads WAV, FLAC, OGG, MP3 and others; convert what it "
            "does not read."
        ) from error
    return samples.mean(axis=1), own


def _array(source: Any) -> np.ndarray:
    import numpy as np

    if not hasattr(source, "__array__"):
        raise InputError(f"A recording is {EXPECTED}; got a {type(source).__name__}.")
    if hasattr(source, "detach"):  # a tensor of torch
        source = source.detach().cpu()
    array = np.asarray(source)
    if array.dtype.kind != "f":
        raise InputError(
            f"The samples are {array.dtype}, expected floats from -1 to 1: for 16-bit integers divide by 32768."
        )
    if array.size > MAX_SAMPLES:
        raise InputError(f"The recording has {array.size} samples; {MAX_SAMPLES} are the most.")
    return array.astype(np.float32, copy=False)


def _mono(samples: np.ndarray) -> np.ndarray:
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or samples.shape[0] > 2:
        raise InputError(
            f"The samples have shape {samples.shape}, expected (samples,), or (channels, samples) of at most 2 "
            "channels: transpose what soundfile or librosa gives, and mix more channels yourself."
        )
    return samples.mean(axis=0)
