"""Keywords of AutoTokenizer.from_pretrained that change what a tokenizer's files say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intermodal.errors import TokenizerError
from intermodal.processing.flags import AROUND, FLAGS, apply_flags
from intermodal.processing.special_tokens import ROLES, add_declared, read_declared
from intermodal.processing.vocabulary import TokenizerParts

SETTINGS = ("padding_side", "truncation_side", "model_max_length", "model_input_names", "clean_up_tokenization_spaces")
TOKENS = (*ROLES, "extra_special_tokens", "additional_special_tokens")
OTHERS = (*AROUND, *FLAGS, "chat_template", "legacy")


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuse keywords that nothing would read.

    Raises:
        TokenizerError: names them, and what there is.
    """
    known = (*SETTINGS, *TOKENS, *OTHERS)
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise TokenizerError(f"A tokenizer does not take {', '.join(unknown)}; it takes: {', '.join(known)}.")
    for name in ("padding_side", "truncation_side"):
        if overrides.get(name, "right") not in ("left", "right"):
            raise TokenizerError(f"{name}={overrides[name]!r}: expected 'left' or 'right'.")


def overridden(parts: TokenizerParts, overrides: Mapping[str, Any]) -> TokenizerParts:
    """A tokenizer that its format carries itself, with what the user says instead.

    Raises:
        TokenizerError: a keyword cannot be honoured.
    """
    if not overrides:
        return parts
    if "legacy" in overrides:
        raise TokenizerError(f"legacy concerns tokenizer.model, which {parts.origin} does not have.")
    declared = read_declared({"added_tokens_decoder": {}, **overrides}, {}, {}, parts.origin)
    add_declared(parts.backend, declared, parts.origin)
    roles = {**parts.special_tokens, **declared.named}
    config = {**parts.config, **{name: overrides[name] for name in SETTINGS if name in overrides}}
    flags = {name: overrides[name] for name in (*FLAGS, *AROUND) if name in overrides}
    apply_flags(parts.backend, {**config, **flags}, roles, parts.origin, asked=flags)
    template = overrides.get("chat_template")
    templates = {**parts.chat_templates, **({"default": template} if isinstance(template, str) else {})}
    return replace(parts, special_tokens=roles, config=config, chat_templates=templates)
