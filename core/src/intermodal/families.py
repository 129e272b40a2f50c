"""What a family plugin declares about itself. Import-light: every heavy part is named by a dotted string."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

API_VERSION = 1
"""Version of the contract in `intermodal.api`. It rises only when something is removed."""


@dataclass(frozen=True)
class Family:
    """One model architecture: which checkpoints it reads, and where its parts are.

    The strings have the form ``package.module:name`` and are imported when first needed, so that a plugin's
    ``plugin.py`` pulls in neither Keras nor numpy.

    Attributes:
        name: short name, `"bloom"`; what `load(..., family=)` takes.
        model_types: values of config.json's `model_type` it reads. They equal the entry-point names.
        config: the typed config class, a `ModelConfig`.
        backbone: the `Backbone` subclass that computes hidden states.
        weight_map: function `(config, task) -> WeightMap`.
        architectures: class names of config.json's `architectures` and the task each one is.
        dialects: for formats that keep their own metadata instead of a config.json (`"gguf"`): a function
            `(checkpoint) -> dict` that gives the config.json of the same model.
        task_classes: task name -> task class, where the family needs another one than core's: a dotted string, or a
            class that core has made at run time.
        image_processor: for families that take images: the subclass of `ImageProcessor` that reads
            preprocessor_config.json (`from_hf`) and makes pixels of images. `AutoImageProcessor` looks here.
        feature_extractor: for families that take sound: a class that reads preprocessor_config.json (`from_hf`), makes
            arrays of recordings, and gives its files for export (`files`). `AutoFeatureExtractor` looks here.
        processor: for families that take images beside text: the subclass of `Processor` that joins a tokenizer and an
            image processor, and knows what tokens an image becomes. For families that make text of sound, a class
            that is made with the tokenizer, the feature extractor, the config and processor_config.json. Without one,
            `model.processor` is the image processor or the feature extractor.
        refused: model types and architectures that look near but differ, and why.
        api: the `API_VERSION` it was written for.
    """

    name: str
    model_types: tuple[str, ...]
    config: str
    backbone: str
    weight_map: str
    architectures: Mapping[str, str]
    dialects: Mapping[str, str] = field(default_factory=dict)
    task_classes: Mapping[str, str | type] = field(default_factory=dict)
    image_processor: str = ""
    processor: str = ""
    feature_extractor: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    api: int = API_VERSION

    def with_task_class(self, task: str, chosen: type) -> Family:
        """The same family with another class for one of its tasks."""
        return replace(self, task_classes={**self.task_classes, task: chosen})


def resolve(dotted: str) -> Any:
    """Import what ``package.module:name`` names.

    Raises:
        ImportError, AttributeError: as Python raises them; the message names the module or attribute.
    """
    module, _, name = dotted.partition(":")
    target: Any = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    return target
