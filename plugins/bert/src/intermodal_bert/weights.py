"""Where BERT checkpoints keep their weights: Hugging Face's names, Google's older ones, and llama.cpp's for GGUF."""

from __future__ import annotations

from dataclasses import replace

from intermodal.api import Ignored, Weight, WeightMap, embedding, head, linear, norm, repeat

from intermodal_bert.config import BertConfig

WORDS = "embeddings.word_embeddings"
POOLER = "pooler.dense"
TRANSFORM = "cls.predictions.transform"
DECODER = "cls.predictions.decoder"
BIAS = "cls.predictions.bias"
NEXT_SENTENCE = "cls.seq_relationship"

WITHOUT_POOLER = ("fill-mask", "token-classification", "question-answering")
ENCODERS = ("feature-extraction", "sentence-similarity")

POSITION_IDS = Ignored(r"(bert\.)?embeddings\.position_ids", "they count from 0")
UNUSED_POOLER = Ignored(r"(bert\.)?pooler\.dense\.(weight|bias)", "the pooler, which this task does not use")


def weight_map(config: BertConfig, task: str) -> WeightMap:
    """The weight map of a config for a task.

    Shapes: V vocabulary, P positions, S token types, H hidden, F feed-forward.
    """
    hidden, feed_forward = config.hidden_size, config.intermediate_size
    block = [
        *linear("attention.self.query", hidden, hidden, bias=True, axes=("heads", "hidden"), gguf="attn_q"),
        *linear("attention.self.key", hidden, hidden, bias=True, axes=("heads", "hidden"), gguf="attn_k"),
        *linear("attention.self.value", hidden, hidden, bias=True, axes=("heads", "hidden"), gguf="attn_v"),
        *linear("attention.output.dense", hidden, hidden, bias=True, axes=("hidden", "heads"), gguf="attn_output"),
        *_layer_norm("attention.output.LayerNorm", hidden, gguf="attn_output_norm"),
        *linear(
            "intermediate.dense", hidden, feed_forward, bias=True, axes=("feed_forward", "hidden"), gguf="ffn_up"
        ),
        *linear("output.dense", feed_forward, hidden, bias=True, axes=("hidden", "feed_forward"), gguf="ffn_down"),
        *_layer_norm("output.LayerNorm", hidden, gguf="layer_output_norm"),
    ]  # fmt: skip
    backbone = [
        *embedding(WORDS, config.vocab_size, hidden, gguf="token_embd"),
        *_table("embeddings.position_embeddings", config.max_position_embeddings, hidden, gguf="position_embd"),
        *_table("embeddings.token_type_embeddings", config.type_vocab_size, hidden, gguf="token_types"),
        *_layer_norm("embeddings.LayerNorm", hidden, gguf="token_embd_norm"),
        *repeat("encoder.layer", config.num_hidden_layers, block, gguf="blk"),
        *_pooler(config, task),
    ]
    return WeightMap(
        weights=(*backbone, *_head(config, task)),
        prefix="bert.",
        prefixes=("bert.", ""),
        ignored=(POSITION_IDS, UNUSED_POOLER) if task in WITHOUT_POOLER else (POSITION_IDS,),
    )


def _pooler(config: BertConfig, task: str) -> list[Weight]:
    """A dense layer on the first token. An encoder may lack it; a head on it that is new gets a new one."""
    if task in WITHOUT_POOLER:
        return []
    weights = linear(POOLER, config.hidden_size, config.hidden_size, bias=True, gguf="cls")
    return [replace(weight, if_absent="left out" if task in ENCODERS else "new") for weight in weights]


def _head(config: BertConfig, task: str) -> list[Weight]:
    hidden = config.hidden_size
    next_sentence = head(linear(NEXT_SENTENCE, hidden, 2, bias=True))
    match task:
        case "fill-mask":
            return _masked_lm(config)
        case "next-sentence-prediction":
            return next_sentence
        case "pretraining":
            return [*_masked_lm(config), *next_sentence]
        case "text-classification":
            return head(linear("classifier", hidden, config.num_labels, bias=True, gguf="cls.output"))
        case "token-classification":
            return head(linear("classifier", hidden, config.num_labels, bias=True))
        case "multiple-choice":
            return head(linear("classifier", hidden, 1, bias=True))
        case "question-answering":
            return head(linear("qa_outputs", hidden, 2, bias=True))
        case _:
            return []


def _masked_lm(config: BertConfig) -> list[Weight]:
    """Dense, activation, norm, and a product with the word embeddings.

    Where embeddings are not tied, transformers 5 adds the decoder's own bias; it keeps the other one without using it.
    """
    hidden, tied = config.hidden_size, config.tie_word_embeddings
    transform = [
        *linear(f"{TRANSFORM}.dense", hidden, hidden, bias=True),
        *_layer_norm(f"{TRANSFORM}.LayerNorm", hidden),
    ]
    decoder, decoder_bias = linear(
        DECODER, hidden, config.vocab_size, bias=True, axes=("vocabulary", "hidden")
    )  # fmt: skip
    bias = replace(decoder_bias, name=BIAS, if_absent="refused" if tied else "left out")
    return [
        *head(transform),
        *head([replace(bias, legacy=(f"{DECODER}.bias",) if tied else ())]),
        *head([decoder], tied_to=f"{WORDS}.weight" if tied else None),
        *head([decoder_bias], tied_to=BIAS if tied else None),
    ]


def _layer_norm(name: str, width: int, *, gguf: str | None = None) -> list[Weight]:
    """A norm, whose weight and bias Google's files call gamma and beta."""
    weight, bias = norm(name, width, bias=True, gguf=gguf)
    return [replace(weight, legacy=(f"{name}.gamma",)), replace(bias, legacy=(f"{name}.beta",))]


def _table(name: str, rows: int, width: int, *, gguf: str) -> list[Weight]:
    """An embedding of something else than words, which is never split by rows."""
    return [replace(weight, axes=(None, "hidden")) for weight in embedding(name, rows, width, gguf=gguf)]
