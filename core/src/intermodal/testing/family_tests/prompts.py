"""Kit: prompts are padded to few shapes, so that new lengths compile nothing; the padding changes no token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from intermodal.testing.family_tests.model import WINDOW
from intermodal.testing.family_tests.subject import GENERATION, Subject

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

LENGTHS = (2, 17, 64, 70)
"""Tokens of prompts; the longest is longer than what is read at once."""

DRAWN = {"top_k": 12, "temperature": 1.5, "seed": 4}
"""Drawn tokens, for they tell more than the likeliest: one logit that differs moves them."""


class PromptTests:
    """Generation from prompts of some lengths."""

    @pytest.mark.backend
    def test_prompts_of_new_lengths(self, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tokens are drawn as if prompts were read token by token, and one program serves every length."""
        subject.needs("text generation", GENERATION in subject.family.architectures.values())
        windowed = WINDOW in subject.config_class.checks()
        architecture = next(a for a in subject.architectures if subject.task(a) == GENERATION)
        model = subject.load(subject.reference(architecture, {WINDOW: 8} if windowed else {}))
        text = np.resize(subject.tests.inputs(GENERATION)["input_ids"], (2, max(LENGTHS)))
        prompts = []
        for length in LENGTHS:
            mask = np.ones((2, length), "int32")
            mask[1, : length // 2] = 0
            prompts.append({"input_ids": text[:, -length:], "attention_mask": mask})
        assert_padding_changes_nothing(model, prompts, monkeypatch)


def assert_padding_changes_nothing(
    model: TaskModel, prompts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of as many rows: one program reads all of them, and what is drawn is as if nothing were padded."""
    from intermodal.generation import decoding

    def generated() -> list[np.ndarray]:
        return [model.generate(dict(prompt), max_new_tokens=9, eos_token_id=[], **DRAWN) for prompt in prompts]

    monkeypatch.setattr(model, "_generation_loop", None, raising=False)
    padded = generated()
    loop = decoding.loop_of(model)
    if loop.compiled:
        programs = loop.compilations()
        assert programs["read"] == programs["run"] == 1, f"a new length of prompts compiles anew: {programs}"
    monkeypatch.setattr(decoding, "PIECE", dict.fromkeys(decoding.PIECE, 1))
    for prompt, got, expected in zip(prompts, padded, generated(), strict=True):
        about = f"padding changes what is drawn after {prompt['input_ids'].shape[1]} tokens"
        np.testing.assert_array_equal(got, expected, err_msg=about)
