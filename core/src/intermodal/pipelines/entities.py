"""Labels of tokens, brought together to labels of words and of groups, by transformers' aggregation strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRATEGIES = ("none", "simple", "first", "average", "max")

Entity = dict[str, Any]
Join = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Token:
    """A token of the text.

    Attributes:
        word: as the vocabulary spells it. `scores`: (labels,) probabilities. `start`, `end`: characters of the text.
        index: in its row. `inside`: whether it goes on with the word of the token before it.
    """

    word: str
    scores: np.ndarray
    start: int
    end: int
    index: int
    inside: bool


def label_tokens(tokens: Sequence[Token], names: Sequence[str]) -> list[Entity]:
    """Each token with its likeliest label."""
    return [
        {
            **_likeliest(token.scores, names),
            "index": token.index,
            "word": token.word,
            "start": token.start,
            "end": token.end,
        }
        for token in tokens
    ]


def label_words(tokens: Sequence[Token], names: Sequence[str], strategy: str, join: Join) -> list[Entity]:
    """Each word with one label.

    Args:
        tokens: of the text.
        names: of the labels.
        strategy: `"first"`, `"average"` or `"max"`.
        join: makes text of tokens.
    """
    words: list[list[Token]] = []
    for token in tokens:
        if token.inside and words:
            words[-1].append(token)
        else:
            words.append([token])
    choose = {
        "first": lambda word: word[0].scores,
        "average": lambda word: np.mean([token.scores for token in word], axis=0),
        "max": lambda word: max(word, key=lambda token: token.scores.max()).scores,
    }[strategy]
    return [
        {
            **_likeliest(choose(word), names),
            "word": join([token.word for token in word]),
            "start": word[0].start,
            "end": word[-1].end,
        }
        for word in words
    ]


def group(entities: Sequence[Entity], join: Join) -> list[Entity]:
    """Neighbours of one label as one; a label that begins with `B-` begins a group."""
    groups: list[list[Entity]] = []
    for entity in entities:
        begins, kind = _read(entity["entity"])
        if groups and not begins and kind == _read(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": members[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([member["score"] for member in members])),
            "word": join([member["word"] for member in members]),
            "start": members[0]["start"],
            "end": members[-1]["end"],
        }
        for members in groups
    ]


def keep_longest(entities: Sequence[Entity]) -> list[Entity]:
    """Entities by their place; of those that overlap the longest one, and of equally long ones the surest.

    Rows of one text share tokens, so an entity may be found twice, and cut by the end of a row.
    """
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda each: each["start"]):
        if not kept or not kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept.append(entity)
        elif _weight(entity) > _weight(kept[-1]):
            kept[-1] = entity
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _likeliest(scores: np.ndarray, names: Sequence[str]) -> Entity:
    index = int(scores.argmax())
    return {"entity": names[index], "score": float(scores[index])}


def _read(label: str) -> tuple[bool, str]:
    """Whether a label begins a group, and of what kind it is."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label
