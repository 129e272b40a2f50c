"""Building a tokenizer from a SentencePiece model file (tokenizer.model), where there is no tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing import sentencepiece_model as spm
from intermodal.processing.build import guarded

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

SPACE = "▁"
MAX_PIECE = 512


def build_sentencepiece(data: bytes, config: Mapping[str, Any], origin: str) -> tuple[Tokenizer, dict[str, str]]:
    """A backend that gives the ids that the sentencepiece library gives, and the special tokens by role.

    It differs from that library where transformers does. Control pieces (`<s>`) are recognised in text. The space that
    SentencePiece puts before a text is put there only if the text does not begin with one, and not after a special
    token; with `"legacy": true` it is put before the text and after every special token, always.

    Args:
        data: the file.
        config: tokenizer_config.json; `legacy` and `add_prefix_space` count.
        origin: for messages.

    Raises:
        TokenizerError: the file is malformed, or does what the tokenizers library cannot.
    """
    model = spm.parse_sentencepiece(data, origin)
    if model.unsupported:
        raise TokenizerError(f"{origin} cannot be used: {model.unsupported}.")
    texts = [piece.text for piece in model.pieces]
    if len(set(texts)) != len(texts) or "" in texts:
        raise TokenizerError(f"{origin} has empty pieces, or one twice.")
    if not 0 <= model.unk_id < len(texts) or max(model.bos_id, model.eos_id, model.pad_id) >= len(texts):
        raise TokenizerError(f"{origin} has special ids outside its {len(texts)} pieces.")
    prefix = model.add_dummy_prefix if config.get("add_prefix_space") is None else bool(config["add_prefix_space"])
    # A space that is written out is in no text that SentencePiece matches, for it has replaced them all.
    defined = [piece for piece in model.pieces if piece.kind == spm.USER_DEFINED and " " not in piece.text]
    if prefix and any(SPACE in piece.text for piece in defined):
        raise TokenizerError(
            f"{origin} has user-defined pieces with spaces, and puts a space before texts: only a tokenizer.json can "
            "say both. Save one with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(folder)."
        )
    with guarded(origin):
        backend = _backend(model)
        _set_normalizer(backend, model, prefix, legacy=bool(config.get("legacy", False)))
        _set_decoder(backend, model, prefix)
        backend.add_tokens([_added(piece) for piece in defined])
        backend.add_special_tokens([_added(piece) for piece in model.pieces if piece.kind == spm.CONTROL])
    ids = {"unk": model.unk_id, "bos": model.bos_id, "eos": model.eos_id, "pad": model.pad_id}
    return backend, {f"{role}_token": texts[index] for role, index in ids.items() if index >= 0}


def _backend(model: spm.SentencePieceModel) -> Tokenizer:
    from tokenizers import Tokenizer, models

    if model.algorithm == spm.UNIGRAM:
        scored = [(piece.text, piece.score) for piece in model.pieces]
        return Tokenizer(models.Unigram(scored, unk_id=model.unk_id, byte_fallback=model.byte_fallback))
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    return Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(model, vocabulary),
            unk_token=model.pieces[model.unk_id].text,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    )


def _merges(model: spm.SentencePieceModel, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two others, best piece first.

    SentencePiece merges whichever neighbours make the piece of the highest score, and keeps no list of merges.
    """
    found = []
    for index, piece in enumerate(model.pieces):
        if piece.kind != spm.NORMAL or len(piece.text) > MAX_PIECE:
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((-piece.score, index, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _set_normalizer(backend: Tokenizer, model: spm.SentencePieceModel, prefix: bool, legacy: bool) -> None:
    from tokenizers import Regex, normalizers, pre_tokenizers

    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.remove_extra_whitespaces:
        # Only spaces: the library's Strip would take every other white character too.
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if prefix and not legacy and not model.remove_extra_whitespaces:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=False)
    else:
        steps += [normalizers.Prepend(SPACE)] if prefix else []
        steps.append(normalizers.Replace(" ", SPACE))
    backend.normalizer = normalizers.Sequence(steps)


def _set_decoder(backend: Tokenizer, model: spm.SentencePieceModel, prefix: bool) -> None:
    from tokenizers import decoders

    steps: list[Any] = [decoders.Replace(SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    backend.decoder = decoders.Sequence(steps)


def _added(piece: spm.Piece) -> AddedToken:
    from tokenizers import AddedToken

    # Runs of spaces, as some vocabularies have, are there only once the text is normalised.
    return AddedToken(piece.text, normalized=SPACE in piece.text, special=piece.kind == spm.CONTROL)
