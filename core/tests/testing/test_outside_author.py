"""An author outside this repository: a package of their own, found by its metadata, proved by the kit."""

import os
import subprocess
import sys
from pathlib import Path

import intermodal_llama3

TESTS = """
from intermodal.testing import FamilyTests

class TestOutside(FamilyTests):
    family = "outside"
    tiny = {
        "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
    }
    variants = {"rope linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}}}
    refused = {"activation": {"hidden_act": "gelu"}}
    unvaried = {
        "head_dim": "tried elsewhere", "max_position_embeddings": "only some rotary embeddings read it",
        "original_max_position_embeddings": "likewise", "partial_rotary_factor": "refused",
    }
"""
PLUGIN = """
from intermodal.api import Family, hookimpl

@hookimpl
def intermodal_families():
    return [
        Family(
            name="outside",
            model_types=("outside",),
            config="outside.config:LlamaConfig",
            backbone="outside.model:LlamaBackbone",
            weight_map="outside.weights:weight_map",
            architectures={"LlamaForCausalLM": "text-generation", "LlamaModel": "feature-extraction"},
            refused={f"LlamaFor{head}": "it has a head of its own" for head in (
                "SequenceClassification", "TokenClassification", "QuestionAnswering")},
        )
    ]
"""
README = "| architecture | task |\n|---|---|\n| LlamaModel | features |\n| LlamaForCausalLM | text |\n"
METADATA = """Metadata-Version: 2.1
Name: outside
Version: 1.0
Summary: A family by somebody else
Requires-Python: >=3.11
License: MIT
Requires-Dist: intermodal>=0.1,<0.2

"""


def test_a_package_of_its_own_passes_the_kit(tmp_path: Path, request) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    package = site / "outside"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A family by somebody else."""\n')
    for name in ("config", "model", "weights"):
        source = (Path(intermodal_llama3.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        (package / f"{name}.py").write_text(source.replace("intermodal_llama3", "outside"), encoding="utf-8")
    (package / "plugin.py").write_text(PLUGIN)
    about = site / "outside-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA + README)
    (about / "entry_points.txt").write_text("[intermodal.families]\noutside = outside.plugin\n")
    project.mkdir()
    (project / "test_outside.py").write_text(TESTS)
    (project / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    references = getattr(request.config, "cache", None)
    kept = references.mkdir("intermodal-references") if references else tmp_path / "references"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--no-header", f"--intermodal-references={kept}"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 100
