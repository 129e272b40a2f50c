"""What tokenizer_config.json may still change of a tokenizer.json, and a check that says so where it does.

tokenizer.json decides how text becomes ids, whatever class other files name. A few flags are applied on top of it, as
transformers does; each is compared with what tokenizer.json does already, and mostly nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import put_around_texts
from intermodal.processing.class_defaults import GENERIC

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GOLDEN = (
    "In a hole in the ground there lived a hobbit.",
    " Don't  panic: 1234567.89 €\n\tÇa va? ",
    "東京で Привет 👩‍👩‍👧 مرحبا ไทย",
)
"""Texts in which capitals, accents, digits, white space and several scripts show how a tokenizer splits."""

FLAGS: dict[str, tuple[str, str, str]] = {
    "do_lower_case": ("normalizer", "BertNormalizer", "lowercase"),
    "strip_accents": ("normalizer", "BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("normalizer", "BertNormalizer", "handle_chinese_chars"),
    "add_prefix_space": ("pre_tokenizer", "ByteLevel", "add_prefix_space"),
}
"""Flag → the part of a tokenizer that it sets, the kind that this has to be of, and the attribute there."""

AROUND = ("add_bos_token", "add_eos_token")


def golden_ids(backend: Tokenizer) -> list[list[int]]:
    """Ids of the golden texts, with what is put around a text."""
    return [encoding.ids for encoding in backend.encode_batch(list(GOLDEN))]


def apply_flags(
    backend: Tokenizer, config: Mapping[str, Any], roles: Mapping[str, str], origin: str, asked: Collection[str] = ()
) -> list[str]:
    """Set what flags of tokenizer_config.json say otherwise than the tokenizer does.

    Args:
        backend: is changed.
        config: tokenizer_config.json.
        roles: special tokens.
        origin: for messages.
        asked: flags that the user gave, which must be possible; those of the file count where there is such a part.

    Returns:
        The flags that changed something, as `add_bos_token = true`.

    Raises:
        TokenizerError: a flag that the user gave cannot be set.
    """
    changed = []
    generic = config.get("tokenizer_class") in GENERIC
    for flag, (part, kind, attribute) in FLAGS.items():
        value, target = config.get(flag), getattr(backend, part)
        if type(target).__name__ != kind:
            if flag in asked:
                raise TokenizerError(
                    f"{origin} has no {kind}, so {flag} cannot be set: its tokenizer.json says how text is split."
                )
        elif isinstance(value, bool) and getattr(target, attribute) != value and (flag in asked or not generic):
            setattr(target, attribute, value)
            changed.append(flag)
    around = backend.encode("").ids
    bos, eos = (backend.token_to_id(roles.get(role, "")) for role in ("bos_token", "eos_token"))
    does = {"add_bos_token": bos is not None and around[:1] == [bos]}
    does["add_eos_token"] = eos is not None and around[int(does["add_bos_token"]) :][-1:] == [eos]
    # transformers too passes over what the file says of these two, beside a tokenizer.json.
    wanted = {flag: bool(config[flag]) if flag in asked else does[flag] for flag in AROUND}
    for flag, index in zip(AROUND, (bos, eos), strict=True):
        if index is None and wanted[flag] and flag in asked:
            raise TokenizerError(f"{flag}=True: {origin} has no such token; name it ({flag[4:]}=…) as well.")
        wanted[flag] = wanted[flag] and index is not None
    if wanted != does:
        put_around_texts(backend, wanted, roles, origin)
        changed += [flag for flag in AROUND if wanted[flag] != does[flag]]
    return [f"{flag} = {str(config[flag]).lower()}" for flag in changed]


def difference(backend: Tokenizer, before: list[list[int]], changed: list[str], origin: str) -> str | None:
    """A sentence for the first golden text whose ids are not what tokenizer.json alone gave; None where all are."""
    for text, ids, now in zip(GOLDEN, before, golden_ids(backend), strict=True):
        if ids != now:
            shared = zip(ids, now, strict=False)
            first = next((i for i, (old, new) in enumerate(shared) if old != new), min(len(ids), len(now)))
            was, is_now = ([backend.id_to_token(i) for i in row[first : first + 8]] for row in (ids, now))
            why = ", ".join(changed) or "tokens that tokenizer_config.json adds"
            return (
                f"{origin}: ids differ from those of tokenizer.json alone, because of {why}: from token {first} on, "
                f"{text!r} is {is_now} and was {was}."
            )
    return None
