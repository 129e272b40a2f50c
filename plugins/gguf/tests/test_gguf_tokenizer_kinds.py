"""Tokenizers rebuilt from metadata against the libraries they were trained or defined with."""

import json

import gguf
import pytest
import sentencepiece
import tokenizers
import transformers
from intermodal_gguf.tokenizer.pretokenizers import PRE_TOKENIZERS
from tokenizers import Regex, models, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and doesn't stop: it runs 12345 miles in 3.5 days!",
    "def hello(name):\n    return f'Hello, {name}!'  # greets\n\n\nprint(hello('world'))",
    "Größere Städte wie Köln und Düsseldorf; für den Café-Besuch zahlt man 7,50 Euro.",
    "Быстрая лиса прыгает через ленивую собаку 42 раза. 我喜欢吃苹果和香蕉。 今天天气很好！",
    "She said \"I'll be there\", but they'd already left... What's next? WE'VE GOT IT!!!",
] * 4
TEXTS = [
    "",
    " ",
    "   three spaces",
    "tail  ",
    "Hello, world! I'm here; DON'T you'll see 1234567 things 3½",
    "tabs\tand\r\nlines\n\n\n  indented",
    "Äpfel und Öl, cafe\u0301 und na\u00efve",  # one accent composed, one not
    "ещё раз — 今天 7天 🦙🦙 ﬁn",
    "x=1;y+=2 /* <t> */ __init__ 'LL 's",
    "\u3000wide\u00a0space\u200bzero",
    "हिन्दी ក្រុម عربى",
    *CORPUS[:5],
]
WRITTEN_BY = gguf.TokenType


def keys(model, tokens, types, **more):
    """Add a tokenizer's keys the way llama.cpp's converter does."""

    def add(writer):
        writer.add_tokenizer_model(model)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        for name, value in more.items():
            getattr(writer, f"add_{name}")(value)

    return add


# --- SentencePiece ---------------------------------------------------------------------------------------------------


# Only without a prefix: after a token matched whole, llama.cpp and transformers put it again, SentencePiece does not.
USER_DEFINED = ["<tool>", "\u2581\u2581\u2581"]


@pytest.fixture(scope="module", params=[True, False], ids=["prefix", "no_prefix"])
def pieces(request, tmp_path_factory):
    """A vocabulary trained the way Llama's and Gemma's were."""
    folder = tmp_path_factory.mktemp("spm")
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "spm"),
        model_type="bpe",
        vocab_size=560,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        add_dummy_prefix=request.param,
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=[] if request.param else USER_DEFINED,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model")), request.param


def test_sentencepiece_ids_and_text(pieces, write_gguf, open_gguf):
    processor, prefix = pieces
    size = processor.get_piece_size()
    types = []
    for index in range(size):
        kinds = (
            (processor.is_unknown, WRITTEN_BY.UNKNOWN),
            (processor.is_control, WRITTEN_BY.CONTROL),
            (processor.is_byte, WRITTEN_BY.BYTE),
        )
        types.append(next((kind for test, kind in kinds if test(index)), WRITTEN_BY.NORMAL))
    tokens = [processor.id_to_piece(index) for index in range(size)]
    for symbol in [] if prefix else USER_DEFINED:
        types[tokens.index(symbol)] = WRITTEN_BY.USER_DEFINED
    # The converter writes the spaces of user-defined tokens as such.
    tokens = [
        token.replace("\u2581", " ") if kind == WRITTEN_BY.USER_DEFINED else token
        for token, kind in zip(tokens, types, strict=True)
    ]
    scores = [processor.get_score(index) for index in range(size)]
    more = {"token_scores": scores, "add_space_prefix": prefix, "bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0}
    parts = open_gguf(write_gguf(keys=keys("llama", tokens, types, **more))).tokenizer_parts()
    for text in [*TEXTS, "<tool>call", "a <tool> b"]:
        expected = processor.encode(text)
        assert parts.backend.encode(text, add_special_tokens=False).ids == expected, text
        assert parts.backend.encode(text).ids == [1, *expected], text
        # SentencePiece drops the prefix where there was none; the decoder drops the one that it put.
        assert parts.backend.decode(expected) == processor.decode(expected), text
    assert parts.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


# --- byte-level BPE --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def byte_level():
    """A small vocabulary and its merges, with merges across digits and spaces so that every cut shows."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(
        CORPUS + ["123 1234 11 22 33 44 55 5555 \u00e9 e\u0301 \n\n\n \n 'll 'LL"] * 8, trainer
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def write_byte_level(write_gguf, vocab, merges, pre, special=(), **more):
    tokens = [*sorted(vocab, key=vocab.get), *special]
    types = [WRITTEN_BY.NORMAL] * len(vocab) + [WRITTEN_BY.CONTROL] * len(special)
    more = {"tokenizer_pre": pre, "token_merges": [" ".join(merge) for merge in merges], **more}
    return write_gguf(keys=keys("gpt2", tokens, types, **more))


CLASSES = {
    "gpt-2": "GPT2Tokenizer",
    "mpt": "GPTNeoXTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen35": "Qwen3_5Tokenizer",
    "command-r": "CohereTokenizer",
}


@pytest.mark.parametrize("pre", CLASSES)
def test_byte_level_ids_are_those_of_the_class_in_transformers(byte_level, write_gguf, open_gguf, pre):
    vocab, merges = byte_level
    reference = getattr(transformers, CLASSES[pre])(vocab=dict(vocab), merges=list(merges)).backend_tokenizer
    ours = open_gguf(write_byte_level(write_gguf, vocab, merges, pre)).tokenizer_parts().backend
    for text in TEXTS:
        expected = reference.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False).ids == expected, text
        assert ours.decode(expected) == reference.decode(expected)


@pytest.mark.parametrize("pre", sorted(set(GGUF_PRE_TOKENIZER_SPLITS) & set(PRE_TOKENIZERS)))
def test_text_is_cut_as_transformers_cuts_it(pre):
    theirs = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[pre]), "isolated")
    ours = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE_TOKENIZERS[pre].patterns]
    )
    for text in TEXTS:
        assert ours.pre_tokenize_str(text) == theirs.pre_tokenize_str(text)


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_known_cut_loses_nothing(byte_level, write_gguf, open_gguf, pre):
    special = ["<|begin|>", "<|end|>"]
    bos = len(byte_level[0])
    path = write_byte_level(write_gguf, *byte_level, pre, special, bos_token_id=bos, eos_token_id=bos + 1)
    parts = open_gguf(path).tokenizer_parts()
    assert parts.config["add_bos_token"] == PRE_TOKENIZERS[pre].bos
    assert (parts.backend.encode("a").ids[0] == bos) == PRE_TOKENIZERS[pre].bos
    for text in TEXTS:
        if PRE_TOKENIZERS[pre].nfc and "\u0301" in text:
            continue
        assert parts.backend.decode(parts.backend.encode(text, add_special_tokens=False).ids) == text


# --- WordPiece -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece_ids_and_segments(tmp_path, write_gguf, open_gguf, lowercase):
    trained = tokenizers.BertWordPieceTokenizer(lowercase=lowercase)
    trained.train_from_iterator(CORPUS, vocab_size=420, show_progress=False)
    vocab = trained.get_vocab()
    reference = transformers.BertTokenizer(vocab=dict(vocab), do_lower_case=lowercase)
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    spelled = sorted(vocab, key=vocab.get)
    types = [WRITTEN_BY.CONTROL if token in special else WRITTEN_BY.NORMAL for token in spelled]
    tokens = [
        token if token in special else token[2:] if token.startswith("##") else "\u2581" + token for token in spelled
    ]
    roles = {
        f"{role}_token_id": vocab[token]
        for role, token in (("bos", "[CLS]"), ("unk", "[UNK]"), ("sep", "[SEP]"), ("pad", "[PAD]"), ("mask", "[MASK]"))
    }
    path = write_gguf(keys=keys("bert", tokens, types, **roles), arch="bert")
    parts = open_gguf(path).tokenizer_parts()
    assert parts.special_tokens["cls_token"] == "[CLS]"
    assert "bos_token" not in parts.special_tokens
    for text in [*TEXTS, "one [MASK] two"]:
        expected = reference(text, text_pair="second, text", return_token_type_ids=True)
        ours = parts.backend.encode(text, "second, text")
        assert (ours.ids, ours.type_ids) == (expected["input_ids"], expected["token_type_ids"]), text
        assert parts.backend.encode(text).ids == reference(text)["input_ids"], text
    assert parts.backend.get_vocab() == vocab


# --- a real one ------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_smollm2_tokenizer_is_the_one_transformers_makes(smollm2, open_gguf):
    reference = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    parts = open_gguf(smollm2).tokenizer_parts()
    for text in [*TEXTS, "<|im_start|>user\nWhat is 12+34?<|im_end|>\n", "a<|im_end|>b"]:
        expected = reference(text)["input_ids"]
        assert parts.backend.encode(text).ids == expected, text
        assert parts.backend.decode(expected, skip_special_tokens=True) == reference.decode(
            expected, skip_special_tokens=True
        )
    assert parts.chat_templates == {"default": reference.chat_template}
    assert parts.special_tokens["bos_token"] == reference.bos_token == "<|im_start|>"
    assert parts.special_tokens["eos_token"] == reference.eos_token == "<|im_end|>"
    assert parts.backend.get_vocab_size() == len(reference) == 49152
    assert parts.config["model_max_length"] == 8192
