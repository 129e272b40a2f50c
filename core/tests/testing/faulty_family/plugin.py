"""One family for each fault, and one without."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

ARCHITECTURES = {"LlamaForCausalLM": "text-generation", "LlamaModel": "feature-extraction"}
CONFIG = "intermodal_llama3.config:LlamaConfig"
BACKBONE = "intermodal_llama3.model:LlamaBackbone"
WEIGHT_MAP = "intermodal_llama3.weights:weight_map"
GGUF = {"gguf": "intermodal_llama3.gguf:config_from_gguf"}


def family(name: str, *, config: str = CONFIG, backbone: str = BACKBONE, weight_map: str = WEIGHT_MAP) -> Family:
    """The Llama family under another name, with some parts exchanged."""
    return Family(name, (name, "gguf.llama"), config, backbone, weight_map, ARCHITECTURES, GGUF)


def like_mistral(name: str, *, backbone: str) -> Family:
    """The Mistral family under another name, with another backbone."""
    config, weight_map = "intermodal_mistral.config:MistralConfig", "intermodal_mistral.weights:weight_map"
    return Family(name, (name,), config, backbone, weight_map, {"MistralForCausalLM": "text-generation"})


def like_gemma(name: str, *, backbone: str) -> Family:
    """The Gemma 3 text family under another name, with another backbone."""
    config, weight_map = "intermodal_gemma3.config:GemmaTextConfig", "intermodal_gemma3.weights:weight_map"
    return Family(name, (name,), config, backbone, weight_map, {"Gemma3ForCausalLM": "text-generation"})


FAMILIES = [
    family("sound"),
    family("dropped_bias", backbone="faulty_family.models:DroppedBias"),
    family("wrong_epsilon", backbone="faulty_family.models:WrongEpsilon"),
    family("swapped_norms", backbone="faulty_family.models:SwappedNorms"),
    family("wrong_rope", backbone="faulty_family.models:WrongRope"),
    family("stuck_positions", backbone="faulty_family.models:StuckPositions"),
    like_mistral("wide_window", backbone="faulty_family.models:WideWindow"),
    like_gemma("missing_offset", backbone="faulty_family.models:MissingOffset"),
    family("permuted_queries", weight_map="faulty_family.maps:permuted_queries"),
    family("one_way_transform", weight_map="faulty_family.maps:one_way_transform"),
    family("missing_tie", weight_map="faulty_family.maps:missing_tie"),
    family("lost_rows", weight_map="faulty_family.maps:lost_rows"),
    family("plain_gguf", weight_map="faulty_family.maps:plain_gguf"),
    family("ignored_field", config="faulty_family.configs:IgnoredField"),
    family("overlooked_field", config="faulty_family.configs:OverlookedField"),
    family("wrong_default", config="faulty_family.configs:WrongDefault"),
    family("misspelled", backbone="faulty_family.models:NoSuchBackbone"),
]


@hookimpl
def intermodal_families() -> list[Family]:
    """Give them all."""
    return FAMILIES
