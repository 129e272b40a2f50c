"""The variants a family is tested with: each changes some config fields of its tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.config import ModelConfig

UNVARIED = {
    "architectures": "each architecture has a test of its own",
    "id2label": "classification heads are tested with five labels",
    "label2id": "it names the labels and changes no number",
    "problem_type": "it chooses the loss that transformers trains with",
    "bos_token_id": "the tokenizer and generation read it, the model does not",
    "eos_token_id": "generation reads it, the model does not",
    "pad_token_id": "architectures are tested with padded batches",
}
"""Fields that the kit tests in another way, or that reach no logit."""


@dataclass(frozen=True)
class Variant:
    """Config fields at values that are not those of the tiny model.

    Attributes:
        changes: field → value, as config.json has them.
        architecture: transformers' class to compare; None is the family's first.
        same: why the outputs stay as they were, where they rightly do: `"swish is silu"`.
        may_be_refused: a ConfigError that names one of the fields is right too. The kit's own variants have it.
    """

    changes: Mapping[str, Any]
    architecture: str | None = None
    same: str = ""
    may_be_refused: bool = False


def all_variants(
    config_class: type[ModelConfig],
    tiny: Mapping[str, Any],
    given: Mapping[str, Mapping[str, Any] | Variant],
    left_out: frozenset[str],
) -> dict[str, Variant]:
    """The author's variants, and one for each field whose kind says what to try: flags, sizes and epsilons.

    Args:
        config_class: the family's.
        tiny: fields of the model that variants change.
        given: the author's, by name.
        left_out: fields that need none.
    """
    variants = {name: changes if isinstance(changes, Variant) else Variant(changes) for name, changes in given.items()}
    covered = {key for variant in variants.values() for key in variant.changes} | left_out
    for field in config_class.checks():
        if field not in covered and (value := _other_value(config_class, tiny, field)) is not None:
            variants[field] = Variant({field: value}, may_be_refused=True)
    return variants


def _other_value(config_class: type[ModelConfig], tiny: Mapping[str, Any], field: str) -> Any:
    """A value far from the tiny model's, or None where the kind of the field does not tell one."""
    value = tiny.get(field, getattr(config_class, field, None))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and not field.endswith(("_id", "_ids", "_index")):
        return 2 * value
    if isinstance(value, float) and field.endswith("eps"):
        return 0.01
    return None


def merged(tiny: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a variant. Configs inside the config (`text_config`) are merged, all else is replaced."""
    fields = dict(tiny)
    for key, value in changes.items():
        nested = key.endswith("_config") and isinstance(value, Mapping) and isinstance(fields.get(key), Mapping)
        fields[key] = merged(fields[key], value) if nested else value
    return fields
