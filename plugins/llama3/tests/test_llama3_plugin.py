"""What the plugin declares: the entry points it is found by, strings that resolve, and an import that is light."""

import subprocess
import sys
from importlib.metadata import distribution

import pytest
from intermodal.families import resolve
from intermodal_llama3.config import LlamaConfig
from intermodal_llama3.plugin import LLAMA, intermodal_families


def test_the_entry_points_are_the_model_types() -> None:
    found = {
        point.name: point.value
        for point in distribution("intermodal-llama3").entry_points
        if point.group == "intermodal.families"
    }
    assert found == dict.fromkeys(LLAMA.model_types, "intermodal_llama3.plugin")
    assert intermodal_families() == [LLAMA]


def test_what_it_names_is_there() -> None:
    assert resolve(LLAMA.config) is LlamaConfig
    assert callable(resolve(LLAMA.dialects["gguf"]))
    assert not set(LLAMA.refused) & {*LLAMA.architectures, *LLAMA.model_types}
    assert set(LlamaConfig.model_types) <= set(LLAMA.model_types)


def test_its_architectures_are_those_of_transformers() -> None:
    llama = pytest.importorskip("transformers").models.llama.modeling_llama
    assert set(LLAMA.architectures) == set(llama.__all__) - {"LlamaPreTrainedModel"}


def test_importing_the_declaration_and_the_config_loads_nothing_heavy() -> None:
    heavy = "numpy keras jax torch tensorflow transformers gguf tokenizers huggingface_hub"
    code = (
        "import sys, intermodal_llama3.plugin, intermodal_llama3.config\n"
        f"print(*(set('{heavy}'.split()) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
