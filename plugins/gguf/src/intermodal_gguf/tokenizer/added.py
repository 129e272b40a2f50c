"""What stands above a tokenizer's model: tokens matched whole, and those put around every text."""

from tokenizers import AddedToken, Tokenizer, processors

from intermodal_gguf.tokenizer.vocabulary import TokenType, Vocab


def add_tokens(backend: Tokenizer, vocab: Vocab) -> None:
    """Have control tokens matched whole as special ones, and user-defined tokens matched whole as plain text."""
    special = set(vocab.of_type(TokenType.CONTROL)) | {
        index for index in vocab.roles.values() if _is_markup(vocab, index)
    }
    plain = set(vocab.of_type(TokenType.USER_DEFINED)) - special
    for ids, is_special in ((special, True), (plain, False)):
        backend.add_tokens(
            [AddedToken(backend.id_to_token(i), normalized=False, special=is_special) for i in sorted(ids)]
        )


def _is_markup(vocab: Vocab, index: int) -> bool:
    """Whether a token with a role is no text: by its type, or by its looks where a converter has left it at normal."""
    if vocab.types is not None and vocab.types[index] != TokenType.NORMAL:
        return True
    token = vocab.tokens[index]
    return len(token) > 2 and token[0] + token[-1] in ("<>", "[]")


def surround(backend: Tokenizer, vocab: Vocab, before: str | None, after: str | None, *, segments: bool) -> None:
    """Put the tokens of two roles around every text.

    Args:
        backend: gets the post-processor.
        vocab: where the roles are.
        before: the role of what is put in front, or None.
        after: the role of what is put behind, or None.
        segments: the two texts of a pair share what is put in front, and the second is of token type 1.

    Raises:
        TokenizerError: the file names no token of a role.
    """
    needed = [role for role in (before, after) if role is not None]
    for role in needed:
        if role not in vocab.roles:
            raise vocab.fail(f"a {role} token is to be put around texts, but the file names none")
    tokens = {role: str(backend.id_to_token(vocab.roles[role])) for role in needed}
    first = [tokens[before]] if before else []
    last = [tokens[after]] if after else []
    single = [f"{token}:0" for token in (*first, "$A", *last)]
    second = [f"{token}:1" for token in (*([] if segments else first), "$B", *last)]
    if needed:
        backend.post_processor = processors.TemplateProcessing(
            single=" ".join(single).split(" "),
            pair=[*single, *second],
            special_tokens=[(token, vocab.roles[role]) for role, token in tokens.items()],
        )
