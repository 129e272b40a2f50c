"""A small random model with a tokenizer, as transformers saves it, and the same model loaded."""

import json

import intermodal
import pytest
from intermodal.testing.reference import make_reference, save_reference
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = ["The quick brown fox jumps over the lazy dog. Où est la bibliothèque? 東京に行きます。 emoji 😀"] * 4
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if tools %}{{ tools[0].name }}{% endif %}{% if extra %}{{ extra }}{% endif %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONFIG = {
    "vocab_size": 400,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": None,
}


@pytest.fixture(scope="session")
def reference():
    """transformers' own. Its table has more rows than the tokenizer has tokens."""
    return make_reference("LlamaForCausalLM", CONFIG, seed=5)


@pytest.fixture(scope="session")
def folder(reference, tmp_path_factory):
    path = save_reference(reference, tmp_path_factory.mktemp("model"))
    (path / "generation_config.json").unlink()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<bos>", "<eos>"],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([AddedToken("<|other|>", normalized=False)])
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    backend.save(str(path / "tokenizer.json"))
    fields = {"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(fields))
    return path


@pytest.fixture(scope="session")
def model(folder):
    return intermodal.load(folder)


@pytest.fixture(scope="session")
def tokens(model):
    """How many ids the tokenizer has; the model's table has more rows."""
    assert model.tokenizer.max_id + 1 < model.config.vocab_size
    return model.tokenizer.max_id + 1
