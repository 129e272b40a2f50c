"""Scores of labels from a classifier's logits, as transformers' pipelines make them of texts, images and sound."""

from __future__ import annotations

from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import label_names, softmax

FUNCTIONS = ("sigmoid", "softmax", "none")
"""Values of `function_to_apply`."""


def check_function(name: str | None) -> None:
    """Refuse a function that there is not.

    Raises:
        InputError: names those that there are.
    """
    if name is not None and str(name).lower() not in FUNCTIONS:
        raise InputError(f"function_to_apply={name!r}: expected one of {', '.join(FUNCTIONS)}.")


def scored_labels(logits: np.ndarray, function: str | None, config: Any) -> list[dict[str, Any]]:
    """Every label as `{"label", "score"}`, the likeliest first.

    Args:
        logits: (labels,), float32.
        function: what makes scores of them. None: as config.json's `problem_type` says; else softmax, and sigmoid for
            a single label.
        config: the model's.
    """
    kind = config.problem_type
    if function is None and kind == "regression":
        function = "none"
    elif function is None:
        function = "sigmoid" if kind == "multi_label_classification" or len(logits) == 1 else "softmax"
    function, scores = function.lower(), logits
    if function == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    elif function == "softmax":
        scores = softmax(logits)
    labelled = [
        {"label": name, "score": score} for name, score in zip(label_names(config), scores.tolist(), strict=True)
    ]
    return sorted(labelled, key=lambda each: each["score"], reverse=True)
