"""The feature extractor: from samples to what the model takes, as preprocessor_config.json says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from intermodal.api import ABSENT, Account, Encoded, InputError, Rule, array_as, fields, one_of, refusal

FILE = "preprocessor_config.json"

CHECKS = {
    "sampling_rate": fields.integer(1, 1 << 20),
    "padding_value": fields.real(-1e6, 1e6),
    "do_normalize": fields.BOOLEAN,
    "return_attention_mask": fields.BOOLEAN,
}
RULES = {
    "feature_size": Rule(one_of(None, 1), "it has several values for each sample", "Only single samples are supported"),
    "padding_side": Rule(
        one_of(None, "right"),
        "the model counts the samples of a row and takes so many from its beginning",
        "Padding goes behind the samples",
    ),
}
INERT = {
    "feature_extractor_type": "the family is known from config.json",
    "processor_class": "the family is known from config.json",
    "tokenizer_class": "the tokenizer's own files decide",
    "transformers_version": "it says who wrote the file",
    "return_tensors": "the caller chooses it",
}


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2FeatureExtractor:
    """Pads and normalises recordings. Fields are the keys of preprocessor_config.json, defaults transformers'.

    Attributes:
        sampling_rate: samples a second that the model takes.
        padding_value: what stands behind the shorter recordings of a batch.
        do_normalize: bring each recording to mean 0 and variance 1. What is padded without an attention mask counts
            with its padding, as the models were trained whose extractor gives none.
        return_attention_mask: whether a call gives `attention_mask`, where it does not say. Models whose
            `feat_extract_norm` is `"group"` were trained without.
        raw: the file as it was read, kept for export.
    """

    type_name: ClassVar[str] = "Wav2Vec2FeatureExtractor"
    """transformers' name of the class, for export."""
    model_input_names: ClassVar[tuple[str, ...]] = ("input_values", "attention_mask")

    sampling_rate: int = 16000
    padding_value: float = 0.0
    do_normalize: bool = True
    return_attention_mask: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any], *, file: str = FILE) -> Self:
        """Read preprocessor_config.json. An absent key, and null, is the default; an unknown key is warned about.

        Raises:
            ConfigError: a value is malformed, or a key asks for what is not done here; all are named.
        """
        account = Account(raw, file, "")
        values = {
            name: account.read(check, name, value)
            for name, check in CHECKS.items()
            if (value := account.take(name)) is not None
        }
        account.sort_rest(INERT, RULES, strict=False)
        if account.foreign:
            warnings.warn(f"{file}: keys that are not known, and not used: {', '.join(account.foreign)}", stacklevel=2)
        if account.problems or ABSENT in values.values():
            raise refusal(file, account.problems)
        return cls(**values, raw=dict(raw))

    def to_hf(self) -> dict[str, Any]:
        """The content of a preprocessor_config.json that transformers reads to the same values."""
        written = {name: check.write(getattr(self, name)) for name, check in CHECKS.items()}
        return {"feature_size": 1, "padding_side": "right", **self.raw, **written,
                "feature_extractor_type": self.type_name}  # fmt: skip

    def files(self) -> dict[str, Any]:
        """The file that transformers reads to the same feature extractor: name → content."""
        return {FILE: self.to_hf()}

    def __call__(
        self,
        raw_speech: Any,
        padding: bool | str = False,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
    ) -> Encoded:
        """What the model is called with, of one recording or several.

        Args:
            raw_speech: samples (n,), an array (batch, n), or a list of arrays or lists of samples.
            padding: True or `"longest"`, `"max_length"`, or False.
            max_length: in samples.
            truncation: cut to `max_length`.
            pad_to_multiple_of: round the length that is padded or cut to up to a multiple of this.
            return_attention_mask: 1 for samples and 0 for padding; None: as the file says.
            return_tensors: `"np"`, `"pt"`, `"jax"` or `"tf"`; None gives lists of numpy arrays.
            sampling_rate: of these samples, to be compared with the model's.

        Returns:
            `input_values`, float32, a row for each recording, and perhaps `attention_mask`, int32 of the same shapes.

        Raises:
            InputError: the sampling rate is another, a recording has several channels, or arguments contradict.
        """
        self._check_rate(sampling_rate)
        rows = _rows(raw_speech)
        if padding not in (True, False, None, "longest", "max_length", "do_not_pad"):
            raise InputError(f"padding={padding!r}: expected a bool, 'longest', 'max_length' or 'do_not_pad'.")
        if max_length is None and (truncation or padding == "max_length"):
            raise InputError("truncation and padding='max_length' need max_length, in samples.")
        if truncation and max_length is not None:
            rows = [row[: _multiple(max_length, pad_to_multiple_of)] for row in rows]
        counts = [len(row) for row in rows]
        masked = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        padded = padding not in (False, None, "do_not_pad")
        if padded and rows:
            longest = max_length if padding == "max_length" and max_length is not None else max(counts)
            length = _multiple(longest, pad_to_multiple_of)
            rows = [_filled(row, length, self.padding_value) for row in rows]
        if self.do_normalize:
            # Without a mask nothing tells padding from samples, and it counts.
            rows = [
                self._normalised(row, count if padded and masked else len(row))
                for row, count in zip(rows, counts, strict=True)
            ]
        result: dict[str, Any] = {"input_values": rows}
        if masked:
            result["attention_mask"] = [
                _filled(np.ones(count, np.int32), len(row), 0) for row, count in zip(rows, counts, strict=True)
            ]
        if return_tensors is not None:
            if len({len(row) for row in rows}) > 1:
                raise InputError("Recordings of different lengths make no tensor: pass padding=True.")
            result = {name: array_as(np.stack(values), return_tensors) for name, values in result.items()}
        return Encoded(result)

    def _normalised(self, row: np.ndarray, count: int) -> np.ndarray:
        """Mean 0 and variance 1 over the first `count` samples; behind them padding."""
        samples = row[:count]
        values = (row - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        values[count:] = self.padding_value
        return values.astype(np.float32, copy=False)

    def _check_rate(self, rate: int | None) -> None:
        if rate is None:
            warnings.warn(
                f"The model takes {self.sampling_rate} samples a second, and a call without sampling_rate= does not "
                "say how many these are: at another rate the result is wrong.",
                stacklevel=3,
            )
        elif rate != self.sampling_rate:
            raise InputError(
                f"sampling_rate={rate}: the model takes {self.sampling_rate} samples a second. Resample the recording, "
                "as the pipelines do by themselves."
            )


def _rows(raw: Any) -> list[np.ndarray]:
    """Each recording as (n,), of floats in float32."""
    if hasattr(raw, "__array__") and not isinstance(raw, np.ndarray):
        raw = np.asarray(raw)
    several = raw.ndim > 1 if isinstance(raw, np.ndarray) else bool(raw) and not _is_number(raw[0])
    rows = [np.asarray(row) for row in (raw if several else [raw])]
    wrong = [row.shape for row in rows if row.ndim != 1]
    if wrong:
        raise InputError(f"A recording has shape {wrong[0]}, expected (samples,) of a single channel.")
    return [row.astype(np.float32) if row.dtype == np.float64 else row for row in rows]


def _is_number(value: Any) -> bool:
    return not isinstance(value, Sequence) and np.ndim(value) == 0


def _multiple(length: int, of: int | None) -> int:
    return length if of is None else -(-length // of) * of


def _filled(row: np.ndarray, length: int, value: float) -> np.ndarray:
    return row if len(row) >= length else np.pad(row, (0, length - len(row)), constant_values=value)
