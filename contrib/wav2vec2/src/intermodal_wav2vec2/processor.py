"""The processor of checkpoints that recognise speech: a feature extractor for sound, a tokenizer for its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intermodal.api import Encoded, InputError, Tokenizer

from intermodal_wav2vec2.config import Wav2Vec2Config
from intermodal_wav2vec2.feature_extractor import Wav2Vec2FeatureExtractor

FILE = "processor_config.json"
_OF_SOUND = frozenset(
    (
        *("padding", "max_length", "truncation", "pad_to_multiple_of"),
        *("return_attention_mask", "return_tensors", "sampling_rate"),
    )
)


class Wav2Vec2Processor:
    """Turns recordings into what the model is called with, its text into labels, and frames into text.

    Attributes:
        feature_extractor, tokenizer: of the checkpoint.
        raw: processor_config.json.
    """

    type_name = "Wav2Vec2Processor"
    """transformers' name of the class, for export."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        feature_extractor: Wav2Vec2FeatureExtractor,
        config: Wav2Vec2Config,
        raw: Mapping[str, Any],
    ) -> None:
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.config = config
        self.raw = dict(raw)

    def __call__(self, audio: Any = None, text: Any = None, **arguments: Any) -> Encoded:
        """What the model is called with, of recordings, of their text, or of both.

        Args:
            audio: as the feature extractor takes it.
            text: as the tokenizer takes it.
            arguments: `sampling_rate` and others that the feature extractor takes go to it; those that the tokenizer
                takes go to it as well.

        Returns:
            What the feature extractor gives, with the ids of `text` under `labels`; or of text alone what the
            tokenizer gives.

        Raises:
            InputError: there is neither a recording nor a text.
        """
        of_text = {name: value for name, value in arguments.items() if name != "sampling_rate"}
        if audio is None:
            if text is None:
                raise InputError("A processor needs a recording (audio=…) or a text (text=…).")
            return self.tokenizer(text, **of_text)
        of_sound = arguments if text is None else {n: v for n, v in arguments.items() if n in _OF_SOUND}
        found = self.feature_extractor(audio, **of_sound)
        return found if text is None else Encoded({**found, "labels": self.tokenizer(text, **of_text)["input_ids"]})

    def decode(self, *arguments: Any, **options: Any) -> Any:
        """As the tokenizer's."""
        return self.tokenizer.decode(*arguments, **options)

    def batch_decode(self, *arguments: Any, **options: Any) -> Any:
        """As the tokenizer's."""
        return self.tokenizer.batch_decode(*arguments, **options)

    def files(self) -> dict[str, Any]:
        """The files that transformers reads to the same processor, beside the tokenizer's: name → content."""
        return {**self.feature_extractor.files(), FILE: {**self.raw, "processor_class": self.type_name}}
