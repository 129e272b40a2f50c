"""It imports what is heavy, and what is not in the contract."""

from __future__ import annotations

import numpy as np
from intermodal.api import Family, hookimpl
from intermodal.config import one_of

CARELESS = Family(
    name="careless",
    model_types=("careless",),
    config="intermodal_llama3.config:LlamaConfig",
    backbone="intermodal_llama3.model:LlamaBackbone",
    weight_map="intermodal_llama3.weights:weight_map",
    architectures={"LlamaForCausalLM": "text-generation", "LlamaModel": "feature-extraction"},
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the family, after some work that nobody asked for."""
    return [CARELESS] if one_of(3)(int(np.arange(3).sum())) else []
