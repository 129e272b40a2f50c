"""Building a tokenizer from vocab.txt, one WordPiece token a line, where there is no tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def build_wordpiece(
    text: str, config: Mapping[str, Any], declared: Mapping[str, str], origin: str
) -> tuple[Tokenizer, dict[str, str]]:
    """A backend with the normalisation of the original WordPiece code, and the special tokens by role.

    Args:
        text: the file.
        config: tokenizer_config.json; `do_lower_case` (true where absent), `tokenize_chinese_chars` and
            `strip_accents` count.
        declared: special tokens that the files name.
        origin: for messages.

    Raises:
        TokenizerError: the vocabulary lacks the special tokens of this scheme, or belongs to another scheme.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    for key in ("word_tokenizer_type", "subword_tokenizer_type"):
        if config.get(key) not in (None, "basic", "wordpiece"):
            raise TokenizerError(
                f"{origin} belongs to a tokenizer with {key} = {config[key]!r}, which is not supported."
            )
    lines = text.removesuffix("\n").split("\n")
    vocabulary = {line.rstrip(): index for index, line in enumerate(lines)}
    roles = {**ROLES, **{role: token for role, token in declared.items() if role in ROLES}}
    missing = [token for role, token in roles.items() if token not in vocabulary and role != "mask_token"]
    if missing:
        raise TokenizerError(
            f"{origin} lacks {', '.join(missing)}: it is no WordPiece vocabulary of the usual kind. Supply the "
            "tokenizer.json that transformers' save_pretrained() writes."
        )
    with guarded(origin):
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token=roles["unk_token"]))
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
            strip_accents=config.get("strip_accents"),
            lowercase=bool(config.get("do_lower_case", True)),
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
        cls, sep = roles["cls_token"], roles["sep_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=[f"{cls}:0", "$A:0", f"{sep}:0"],
            pair=[f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
            special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])],
        )
    return backend, {role: token for role, token in roles.items() if token in vocabulary}
