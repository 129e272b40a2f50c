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
from intermodal_gemma3.image_config import GemmaConfig
from intermodal_gemma3.plugin import GEMMA, GEMMA_TEXT, intermodal_families


def test_the_entry_points_are_the_model_types():
    found = {
        point.name: point.value
        for point in distribution("intermodal-gemma3").entry_points
        if point.group == "intermodal.families"
    }
    assert found == dict.fromkeys((*GEMMA_TEXT.model_types, *GEMMA.model_types), "intermodal_gemma3.plugin")
    assert intermodal_families() == [GEMMA_TEXT, GEMMA]


def test_what_it_names_is_there():
    assert resolve(GEMMA_TEXT.config) is GemmaTextConfig
    assert callable(resolve(GEMMA_TEXT.dialects["gguf"]))
    assert resolve(GEMMA.config) is GemmaConfig
    for dotted in (GEMMA.backbone, GEMMA.weight_map, GEMMA.image_processor, GEMMA.processor):
        assert callable(resolve(dotted))
    for family in (GEMMA_TEXT, GEMMA):
        assert not set(family.refused) & {*family.architectures, *family.model_types}


def test_each_class_of_transformers_is_read_or_refused_by_name():
    theirs = pytest.importorskip("transformers").models.gemma3.modeling_gemma3
    classes = set(theirs.__all__) - {"Gemma3PreTrainedModel"}
    assert classes == {*GEMMA_TEXT.architectures, *GEMMA.architectures}


@pytest.mark.parametrize(
    ("model_type", "architecture", "said"),
    [
        ("gemma3", "Gemma3ForCausalLM", "no image encoder"),
        ("gemma3_text", "Gemma3ForConditionalGeneration", "image encoder"),
    ],
)
def test_a_config_that_names_the_other_family_is_refused_with_the_reason(model_type, architecture, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [architecture]}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(IntermodalError, match=said):
        intermodal.load(tmp_path)


def test_importing_the_declaration_and_the_config_loads_nothing_heavy():
    heavy = "numpy keras jax torch tensorflow transformers gguf tokenizers huggingface_hub"
    code = (
        "import sys, intermodal_gemma3.plugin, intermodal_gemma3.config, intermodal_gemma3.image_config\n"
        f"print(*(set('{heavy}'.split()) & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
