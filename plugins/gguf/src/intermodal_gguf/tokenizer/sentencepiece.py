"""SentencePiece BPE (`tokenizer.ggml.model` = `llama`): merges are rebuilt from the scores, text is cut nowhere."""

from tokenizers import Tokenizer, decoders, normalizers

from intermodal_gguf.tokenizer.byte_level import bpe_tokenizer, read_merges
from intermodal_gguf.tokenizer.vocabulary import TokenType, Vocab

_SPACE = "\u2581"


def sentencepiece_tokenizer(vocab: Vocab) -> Tokenizer:
    """Build the backend, without added tokens and post-processor.

    SentencePiece joins, again and again, the two neighbours whose union has the highest score. That is BPE with one
    merge for every way to cut a token in two, ordered by the token's score.

    Raises:
        TokenizerError: scores are missing, or text would be normalised in a way the file does not carry.
    """
    if vocab.flag("remove_extra_whitespaces", False):
        raise vocab.fail("its SentencePiece model removes extra white space, which is not supported")
    ids = {token: index for index, token in enumerate(vocab.tokens)}
    merges = rebuild_merges(vocab, ids)
    return _tokenizer(vocab, ids, merges, prefix=vocab.flag("add_space_prefix", True))


def merged_sentencepiece_tokenizer(vocab: Vocab) -> Tokenizer:
    """The same kind of vocabulary with its merges in the file (`tokenizer.ggml.model` = `gemma4`)."""
    ids = {token: index for index, token in enumerate(vocab.tokens)}
    return _tokenizer(vocab, ids, read_merges(vocab), prefix=vocab.flag("add_space_prefix", False))


def _tokenizer(vocab: Vocab, ids: dict[str, int], merges: list[tuple[str, str]], prefix: bool) -> Tokenizer:
    unk = vocab.tokens[vocab.roles["unk"]] if "unk" in vocab.roles else None
    tokenizer = bpe_tokenizer(vocab, ids, merges, byte_fallback=bool(vocab.of_type(TokenType.BYTE)), unk=unk)
    steps: list[normalizers.Normalizer] = [normalizers.Prepend(_SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    joins = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*joins, decoders.Strip(" ", 1, 0)] if prefix else joins)
    return tokenizer


def rebuild_merges(vocab: Vocab, ids: dict[str, int]) -> list[tuple[str, str]]:
    """All ways to make a token of two others, by falling score, then by the ids of the two.

    Raises:
        TokenizerError: the file has no scores, or not one for each token.
    """
    scores = vocab.array("scores", (float, int))
    if scores is None or len(scores) != len(vocab.tokens):
        raise vocab.fail(
            f"{len(scores or ()):,} scores for {len(vocab.tokens):,} tokens: without a score for each, the order of "
            "merges is unknown"
        )
    # No token of another type comes from merging: control and byte tokens are not text, user-defined ones match whole.
    mergeable = (TokenType.NORMAL, TokenType.UNUSED)
    joined = range(len(vocab.tokens)) if vocab.types is None else vocab.of_type(*mergeable)
    merges: list[tuple[str, str]] = []
    for index in sorted(joined, key=lambda index: (-scores[index], index)):
        token = vocab.tokens[index]
        cuts = [
            (left, right)
            for cut in range(1, len(token))
            if (left := token[:cut]) in ids and (right := token[cut:]) in ids
        ]
        if len(cuts) > 1:
            cuts.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += cuts
    return merges
