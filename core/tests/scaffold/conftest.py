"""Checkpoints of a family that nothing here reads, written by the safetensors library."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

CONFIG = {
    "model_type": "novel",
    "architectures": ["NovelForCausalLM"],
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "use_gate": True,
    "gate_limit": 7.5,
    "gate_rank": 6,
    "gate_kind": "soft",
    "gate_schedule": {"a": 1},
}


def novel_tensors() -> dict[str, tuple[int, ...]]:
    """Names and shapes: a decoder with a module, a norm and a table that Llama does not have."""
    block = {
        "input_layernorm.weight": (48,),
        "self_attn.q_proj.weight": (56, 48),
        "self_attn.q_proj.bias": (56,),
        "self_attn.k_proj.weight": (28, 48),
        "self_attn.v_proj.weight": (28, 48),
        "self_attn.o_proj.weight": (48, 56),
        "self_attn.sinks": (4,),
        "mlp.gate_proj.weight": (80, 48),
        "mlp.up_proj.weight": (80, 48),
        "mlp.down_proj.weight": (48, 80),
        "mlp.router.weight": (6, 48),
        "mlp.strange.weight": (33, 48),
        "post_attention_layernorm.weight": (48,),
    }
    tensors = {f"model.layers.{n}.{name}": shape for n in range(3) for name, shape in block.items()}
    tensors["model.layers.1.mlp.extra_norm.weight"] = (48,)
    return {
        **tensors,
        "model.embed_tokens.weight": (101, 48),
        "model.norm.weight": (48,),
        "model.rotary_emb.inv_freq": (7,),
        "lm_head.weight": (101, 48),
    }


def write_checkpoint(folder: Path, tensors: dict[str, tuple[int, ...]] | None = None, **config: Any) -> Path:
    """A folder with model.safetensors and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    shapes = novel_tensors() if tensors is None else tensors
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "novel-checkpoint")
