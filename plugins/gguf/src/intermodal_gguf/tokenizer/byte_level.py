"""Byte-level BPE (`tokenizer.ggml.model` = `gpt2`): merges from the file, text cut as `tokenizer.ggml.pre` names it."""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from intermodal_gguf.tokenizer.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from intermodal_gguf.tokenizer.vocabulary import Vocab


def find_pre_tokenizer(vocab: Vocab) -> PreTokenizer:
    """What the file's pre-tokenizer name stands for.

    Raises:
        TokenizerError: it has none, as files made before May 2024, or one that is not known here.
    """
    name = vocab.metadata.get("tokenizer.ggml.pre")
    if name is None:
        raise vocab.fail(
            "the key tokenizer.ggml.pre, which tells how text is cut, is missing from this byte-level vocabulary, so "
            "its ids would be guesses"
        )
    if name not in PRE_TOKENIZERS:
        raise vocab.fail(f"the pre-tokenizer {name!r} is not known; known are {', '.join(sorted(PRE_TOKENIZERS))}")
    return PRE_TOKENIZERS[name]


def byte_level_tokenizer(vocab: Vocab) -> Tokenizer:
    """Build the backend, without added tokens and post-processor.

    Raises:
        TokenizerError: the pre-tokenizer is unknown, or merges are missing or do not fit the vocabulary.
    """
    pre = find_pre_tokenizer(vocab)
    ids = {token: index for index, token in enumerate(vocab.tokens)}
    tokenizer = bpe_tokenizer(vocab, ids, read_merges(vocab), ignore_merges=pre.whole)
    if pre.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def read_merges(vocab: Vocab) -> list[tuple[str, str]]:
    """The file's merges, best first.

    Raises:
        TokenizerError: there are none, or one is not two pieces.
    """
    merges = vocab.array("merges", str)
    if merges is None:
        raise vocab.fail("the key tokenizer.ggml.merges is missing")
    # A piece may begin with a space, so the one between them is looked for behind the first character.
    pairs = [(merge[:cut], merge[cut + 1 :]) for merge in merges if (cut := merge.find(" ", 1)) > 0]
    if len(pairs) != len(merges):
        raise vocab.fail("an element of tokenizer.ggml.merges is not two pieces with a space between them")
    return pairs


def bpe_tokenizer(
    vocab: Vocab,
    ids: dict[str, int],
    merges: list[tuple[str, str]],
    *,
    ignore_merges: bool = False,
    byte_fallback: bool = False,
    unk: str | None = None,
) -> Tokenizer:
    """A tokenizer around a BPE model; see `tokenizers.models.BPE` for the arguments.

    Raises:
        TokenizerError: a merge's pieces or its result are not in the vocabulary.
    """
    try:
        model = models.BPE(
            vocab=ids,
            merges=merges,
            ignore_merges=ignore_merges,
            byte_fallback=byte_fallback,
            fuse_unk=unk is not None,
            unk_token=unk,
        )
    # The Rust side raises a bare Exception for a merge that the vocabulary lacks.
    except Exception as error:
        raise vocab.fail(f"tokens and merges contradict each other ({error})") from error
    return Tokenizer(model)
