"""What the plugin declares: the entry points it is found by, strings that resolve, and an import that is light."""

import json
import subprocess
import sys
from importlib.metadata import distribution

import intermodal
import pytest
from intermodal.errors import IntermodalError
from intermodal.families import resolve
from intermodal_gemma3.config import GemmaTextConfig
from intermodal_gemma3.plugin import GEMMA_TEXT, intermodal_families


def test_the_entry_points_are_the_model_types():
    found = {
        point.name: point.value
        for point in distribution("intermodal-gemma3").entry_points
        if point.group == "intermodal.families"
    }
    assert found == dict.fromkeys(GEMMA_TEXT.model_types, "intermodal_gemma3.plugin")
    assert intermodal_families() == [GEMMA_TEXT]


def test_what_it_names_is_there():
    assert resolve(GEMMA_TEXT.config) is GemmaTextConfig
    assert callable(resolve(GEMMA_TEXT.dialects["gguf"]))
    assert not set(GEMMA_TEXT.refused) & {*GEMMA_TEXT.architectures, *GEMMA_TEXT.model_types}


def test_each_class_of_transformers_is_read_or_refused_by_name():
    theirs = pytest.importorskip("transformers").models.gemma3.modeling_gemma3
    assert set(theirs.__all__) - {"Gemma3PreTrainedModel"} <= {*GEMMA_TEXT.architectures, *GEMMA_TEXT.refused}


def test_image_models_are_refused_with_the_reason(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": {}, "vision_config": {}}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(IntermodalError, match="images are not supported yet"):
        intermodal.load(tmp_path)


def test_importing_the_declaration_and_the_config_loads_nothing_heavy():
    heavy = "numpy keras jax torch tensorflow transformers gguf tokenizers huggingface_hub"
    code = (
        "import sys, intermodal_gemma3.plugin, intermodal_gemma3.config\n"
        f"print(*(set('{heavy}'.split()) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
