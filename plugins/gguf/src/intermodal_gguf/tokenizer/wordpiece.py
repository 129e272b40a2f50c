"""WordPiece (`tokenizer.ggml.model` = `bert`): the phantom spaces of the file's spelling undone, casing restored."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from intermodal_gguf.tokenizer.vocabulary import TokenType, Vocab

_PHANTOM_SPACE = "\u2581"


def wordpiece_tokenizer(vocab: Vocab) -> Tokenizer:
    """Build the backend, without added tokens and post-processor.

    llama.cpp's converter writes `word` as `▁word` and `##piece` as `piece`; tokens like `[CLS]` stay as they are.

    Raises:
        TokenizerError: two tokens have one original spelling, or there is no unknown token.
    """
    ids = {_original(vocab, index): index for index in range(len(vocab.tokens))}
    if len(ids) != len(vocab.tokens):
        raise vocab.fail("two of its WordPiece tokens come from one")
    if "unk" not in vocab.roles:
        raise vocab.fail("its WordPiece vocabulary has no unknown token")
    unk = vocab.tokens[vocab.roles["unk"]]
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token=unk, max_input_chars_per_word=100))
    lowercase = vocab.flag("normalizer.lowercase", _is_lowercase(vocab))
    strip_accents = vocab.flag("normalizer.strip_accents", lowercase)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tokenizer


def _original(vocab: Vocab, index: int) -> str:
    token = vocab.tokens[index]
    if token.startswith(_PHANTOM_SPACE):
        return token[1:]
    kind = vocab.types[index] if vocab.types else TokenType.NORMAL
    # Converters before 2025 kept every token in brackets, whatever its type.
    if kind == TokenType.CONTROL or (token.startswith("[") and token.endswith("]")):
        return token
    return "##" + token


def _is_lowercase(vocab: Vocab) -> bool:
    """Whether the vocabulary was made from lower-cased text, which older files do not say: it then has no capitals.

    Lower-casing before a vocabulary with capitals would leave these tokens unreachable, so the answer is not in doubt.
    """
    special = set(vocab.of_type(TokenType.CONTROL))
    return not any(
        character.isascii() and character.isupper()
        for index, token in enumerate(vocab.tokens)
        if index not in special and not (token.startswith("[") and token.endswith("]"))
        for character in token
    )
