"""Which tasks have a pipeline, under which names, and why others have none. Importing it loads none of them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from intermodal.errors import TaskError
from intermodal.families import resolve
from intermodal.tasks import SENTENCE_TASK

if TYPE_CHECKING:
    from intermodal.pipelines.base import Pipeline

PIPELINES = {
    "text-classification": "intermodal.pipelines.text_classification:TextClassificationPipeline",
    "fill-mask": "intermodal.pipelines.fill_mask:FillMaskPipeline",
    "feature-extraction": "intermodal.pipelines.feature_extraction:FeatureExtractionPipeline",
    "text-generation": "intermodal.pipelines.text_generation:TextGenerationPipeline",
    "token-classification": "intermodal.pipelines.token_classification:TokenClassificationPipeline",
    "zero-shot-classification": "intermodal.pipelines.zero_shot_classification:ZeroShotClassificationPipeline",
    "question-answering": "intermodal.pipelines.question_answering:QuestionAnsweringPipeline",
    "document-question-answering": (
        "intermodal.pipelines.document_question_answering:DocumentQuestionAnsweringPipeline"
    ),
    "audio-classification": "intermodal.pipelines.audio_classification:AudioClassificationPipeline",
    "automatic-speech-recognition": "intermodal.pipelines.speech_recognition:SpeechRecognitionPipeline",
    "image-classification": "intermodal.pipelines.image_classification:ImageClassificationPipeline",
    "image-text-to-text": "intermodal.pipelines.image_text_to_text:ImageTextToTextPipeline",
}
"""Name of the task → its pipeline class."""

ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}
"""Other names, as transformers has them."""

OF_CHECKPOINT = {"pretraining": "fill-mask", SENTENCE_TASK: "feature-extraction"}
"""What a checkpoint saved for another task than its pipeline's is used for, where no task is named."""

REFUSED = {
    "multiple-choice": "transformers has none either; call intermodal.load(uri, {task!r}) with ids",
    "next-sentence-prediction": "transformers has none either; call intermodal.load(uri, {task!r}) with ids",
    "summarization": "encoder-decoder models are not supported; ask a chat model with 'text-generation'",
    "translation": "encoder-decoder models are not supported; ask a chat model with 'text-generation'",
    "text2text-generation": "encoder-decoder models are not supported; ask a chat model with 'text-generation'",
}
"""Tasks that people may ask for, and why there is no pipeline for them."""


def pipeline_class(task: str) -> type[Pipeline]:
    """The pipeline of a task, by its name or an alias.

    Raises:
        TaskError: it has none; the message says why, or names those that there are.
    """
    name = ALIASES.get(task, task)
    if name in REFUSED:
        raise TaskError(f"There is no pipeline for {task!r}: {REFUSED[name].format(task=task)}.")
    if name not in PIPELINES:
        close = get_close_matches(task, [*PIPELINES, *ALIASES], n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise TaskError(f"There is no pipeline for {task!r}; there are: {', '.join([*PIPELINES, *ALIASES])}.{meant}")
    return resolve(PIPELINES[name])


def pipeline_of_checkpoint(task: str) -> type[Pipeline]:
    """The pipeline for a checkpoint that was saved for a task.

    Raises:
        TaskError: there is none.
    """
    return pipeline_class(OF_CHECKPOINT.get(task, task))
