"""Tasks: a backbone with the head and the processor that a use of it needs, each a Keras model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.errors import TaskError
from intermodal.families import Family, resolve

if TYPE_CHECKING:
    from intermodal.layers.parameters import Supply
    from intermodal.layers.storage import StoragePolicy
    from intermodal.tasks.base import TaskModel
    from intermodal.weights.map import WeightMap

BACKBONE_TASK = "feature-extraction"
"""The task of a checkpoint without a head, and of asking for none."""

LANGUAGE_TASKS = (
    "text-generation",
    "image-text-to-text",
    "fill-mask",
    "next-sentence-prediction",
    "pretraining",
)
"""Tasks whose head was trained together with the backbone."""

SENTENCE_TASK = "sentence-similarity"
"""The task of a checkpoint without a head that says how to make one vector of a text."""

CLASSES = {
    "text-generation": "intermodal.tasks.causal_lm:CausalLM",
    "image-text-to-text": "intermodal.tasks.image_text:ImageTextToText",
    BACKBONE_TASK: "intermodal.tasks.features:FeatureExtraction",
    "text-classification": "intermodal.tasks.classification:TextClassification",
    "image-classification": "intermodal.tasks.classification:ImageClassification",
    "audio-classification": "intermodal.tasks.classification:AudioClassification",
    "token-classification": "intermodal.tasks.classification:TokenClassification",
    "question-answering": "intermodal.tasks.classification:QuestionAnswering",
    "document-question-answering": "intermodal.tasks.classification:DocumentQuestionAnswering",
    "fill-mask": "intermodal.tasks.masked_lm:MaskedLM",
    "next-sentence-prediction": "intermodal.tasks.masked_lm:NextSentencePrediction",
    "pretraining": "intermodal.tasks.masked_lm:Pretraining",
    "multiple-choice": "intermodal.tasks.multiple_choice:MultipleChoice",
    SENTENCE_TASK: "intermodal.tasks.sentence:SentenceEmbedding",
}
"""The Hub's task names, and transformers' own where it has none; and core's class for each."""

PARTS = {"pretraining": ("fill-mask", "next-sentence-prediction")}
"""Tasks that are several at once: a head trained for them serves each."""


def check_task(family: Family, task: str) -> None:
    """Check that a family has a task, before anything is fetched for it.

    Raises:
        TaskError: it has not; the message lists those it has.
    """
    offered = dict.fromkeys([*family.architectures.values(), *family.task_classes, BACKBONE_TASK])
    if task not in offered:
        raise TaskError(f"{family.name} has no task {task!r}; it has: {', '.join(offered)}.")


def task_class(family: Family, task: str) -> type[TaskModel]:
    """The class of a task: the family's own, else core's. Raises as `check_task`."""
    check_task(family, task)
    chosen = family.task_classes.get(task) or CLASSES[task]
    return resolve(chosen) if isinstance(chosen, str) else chosen


def build(
    family: Family, config: Any, task: str, weight_map: WeightMap, weights: Supply, dtype: StoragePolicy
) -> TaskModel:
    """Core's own builder: the family's backbone under the task's class, its variables filled by `weights`."""
    return task_class(family, task)(family, config, weight_map, weights, dtype)
