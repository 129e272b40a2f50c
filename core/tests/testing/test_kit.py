"""The conformance kit on families with a planted fault: the right test fails, and its message points at the fault."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from intermodal.testing.family_tests.config_keys import keys_read
from intermodal.testing.references import References

HERE = Path(__file__).parent

FAULTS = {
    ("DroppedBias", "test_variant[attention_bias]"): (
        r"variant 'attention_bias' \(attention_bias = true\).*logits differs by.*"
        r"First difference: layers\.0\.self_attn\.q_proj, whose result differs"
    ),
    ("WrongEpsilon", "test_variant[rms_norm_eps]"): (
        r"rms_norm_eps = 0\.01.*First difference: layers\.0\.input_layernorm, whose result differs"
    ),
    ("SwappedNorms", "test_variant[tiny]"): (
        r"First difference: what goes into layers\.0\.post_attention_layernorm.*all up to embed_tokens agrees"
    ),
    ("WrongRope", "test_variant[rope linear]"): (
        r"First difference: what goes into layers\.0\.self_attn\.o_proj.*all up to layers\.0\.self_attn\.v_proj agrees"
    ),
    ("StuckPositions", "test_cached_steps_are_the_whole[plain]"): (
        r"step by step through the cache.*logits differs by.*from token 3 on"
    ),
    ("WideWindow", "test_longer_than_the_window"): (
        r"sliding_window = 8 of 40 tokens, plain inputs: logits differs by \S+, allowed \S+, from token 8 on\..*"
        r"First difference: what goes into layers\.0\.self_attn\.o_proj.*all up to layers\.0\.self_attn\.v_proj agrees"
    ),
    ("MissingOffset", "test_variant[tiny]"): (
        r"First difference: layers\.0\.input_layernorm, whose result differs .* for the same input"
    ),
    ("PermutedQueries", "test_variant[tiny]"): r"First difference: layers\.0\.self_attn\.q_proj, whose result differs",
    ("OneWayTransform", "test_transforms_have_exact_inverses[LlamaModel]"): (
        r"layers\.0\.self_attn\.q_proj\.weight: OneWay of dialect huggingface"
    ),
    ("OneWayTransform", "test_export_of_architecture_is_bit_for_bit[LlamaModel]"): (
        r"layers\.\d\.self_attn\.q_proj\.weight: \d+ of \d+ bytes changed"
    ),
    (
        "MissingTie",
        "test_tied_without_head_tensor",
    ): r"tie_word_embeddings = true, and the weight map of no architecture",
    ("LostRows", "test_every_element_has_one_place[LlamaModel]"): r"mlp\.(up|gate)_proj\.weight",
    ("PlainGguf", "test_transformers_reads_the_gguf_file_alike"): r"other values.*layers\.0\.self_attn\.q_proj\.weight",
    ("IgnoredField", "test_keys_that_are_let_through_change_no_output"): r"mlp_bias is called inert \(nobody uses it\)",
    (
        "OverlookedField",
        "test_every_field_of_transformers_config_is_in_a_table",
    ): r"reads attention_bias, which no table",
    ("WrongDefault", "test_absent_key_is_transformers_default[intermediate_size]"): (
        r"without intermediate_size: intermediate_size is 8192, transformers has 11008"
    ),
    ("Careless", "test_importing_the_plugin_is_light"): r"importing careless\.plugin pulls in .*numpy",
    ("Careless", "test_imports_nothing_of_intermodal_but_the_api"): r"careless/plugin\.py:\d+: intermodal\.config",
    ("Careless", "test_requirement_on_core_is_bounded"): r"intermodal>=0\.1: give the oldest version that works",
    ("Careless", "test_readme_has_a_support_table"): r"the README's table does not say what becomes of LlamaModel",
    ("Misspelled", "test_dotted_strings_resolve"): r"backbone = 'faulty_family\.models:NoSuchBackbone' names nothing",
}


SOUND = {"WideWindow": "Mistral", "MissingOffset": "Gemma3Text"}
"""Families without the fault; of all others it is Sound, a Llama."""


README = """
| architecture | task |
|---|---|
| LlamaForCausalLM | text-generation |
"""


def install(site: Path, package: str, keys: list[str], *, requires: str, readme: str) -> None:
    """Put a package of the folder beside this file into a site folder, as pip would."""
    shutil.copytree(HERE / package, site / package, ignore=shutil.ignore_patterns("conformance.py", "__pycache__"))
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(f"{about}\n{readme}")
    claims = [f"{key} = {package}.plugin" for key in keys]
    (info / "entry_points.txt").write_text("\n".join(["[intermodal.families]", *claims]) + "\n")


@pytest.fixture(scope="module")
def messages(tmp_path_factory, request) -> dict[tuple[str, str], str | None]:
    """Class and test → the message it failed with, or None; of all faults, and of the family without one."""
    site = tmp_path_factory.mktemp("site")
    names = re.findall(r'(?:family|like_\w+)\("(\w+)"', (HERE / "faulty_family" / "plugin.py").read_text())
    sound = README + "| LlamaModel | feature-extraction |\n"
    install(site, "faulty_family", [*names, "gguf.llama"], requires="intermodal>=0.1,<0.2", readme=sound)
    install(site, "careless", ["careless"], requires="intermodal>=0.1", readme=README)
    shutil.copy(HERE / "faulty_family" / "conformance.py", site / "test_faults.py")
    (site / "pytest.ini").write_text("[pytest]\n")
    chosen = [
        f"test_faults.py::Test{name}::{test}" for fault, test in FAULTS for name in (fault, SOUND.get(fault, "Sound"))
    ]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml=report.xml", "--import-mode=importlib"]
    if cache := getattr(request.config, "cache", None):
        command.append(f"--intermodal-references={cache.mkdir('intermodal-references')}")
    done = subprocess.run(
        [*command, *dict.fromkeys(chosen)], cwd=site, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: tests failed, as they should
    return {
        (str(case.get("classname")).rpartition(".Test")[2], str(case.get("name"))): _message(case)
        for case in ElementTree.parse(site / "report.xml").getroot().iter("testcase")
    }


def _message(case: ElementTree.Element) -> str | None:
    found = [element for kind in ("failure", "error", "skipped") for element in case.iter(kind)]
    return "\n".join(f"{element.get('message')}\n{element.text}" for element in found) if found else None


@pytest.mark.parametrize(("fault", "test"), [pytest.param(*key, id="-".join(key)) for key in FAULTS])
def test_a_fault_fails_the_right_test_and_is_named(fault, test, messages):
    message = messages[fault, test]
    assert message is not None, f"{fault} passes {test}"
    assert re.search(FAULTS[fault, test], message, re.DOTALL), message


@pytest.mark.parametrize(("sound", "test"), sorted({(SOUND.get(fault, "Sound"), test) for fault, test in FAULTS}))
def test_a_sound_family_passes_the_same_tests(sound, test, messages):
    assert messages[sound, test] is None


def test_the_walk_over_transformers_code_finds_the_keys_that_it_reads():
    assert {"is_causal", "sliding_window", "layer_types"} <= set(keys_read("transformers.masking_utils"))
    read = set(keys_read("transformers.models.llama.modeling_llama"))
    assert {"hidden_act", "rms_norm_eps", "mlp_bias"} <= read


def test_the_pytest_plugin_imports_nothing_heavy():
    heavy = ("keras", "numpy", "torch", "jax", "tensorflow", "transformers")
    code = f"import sys, intermodal.testing.plugin; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_references_are_made_once_and_told_apart(tmp_path):
    ids = np.arange(8, dtype="int32")[None]
    fields = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    fields |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    references = References(tmp_path)
    first = references.get("LlamaModel", fields, {"plain": {"input_ids": ids}})
    changed = (first.folder / "cases.npz").stat().st_mtime_ns
    again = References(tmp_path).get("LlamaModel", dict(reversed(fields.items())), {"plain": {"input_ids": ids}})
    assert again.folder == first.folder
    assert (again.folder / "cases.npz").stat().st_mtime_ns == changed
    others = [
        references.get("LlamaModel", {**fields, "rms_norm_eps": 0.1}, {"plain": {"input_ids": ids}}),
        references.get("LlamaModel", fields, {"plain": {"input_ids": ids + 1}}),
        references.get("LlamaModel", fields, {"plain": {"input_ids": ids}}, dtype="bfloat16"),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4
    assert first.case("plain").outputs["last_hidden_state"].shape == (1, 8, 8)
    np.testing.assert_array_equal(first.case("plain").inputs["input_ids"], ids)
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_narrow_reference_is_computed_from_the_stored_values(tmp_path):
    import torch
    import transformers

    ids = np.arange(8, dtype="int32")[None]
    fields = {"vocab_size": 16, "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1}
    fields |= {"num_attention_heads": 1, "num_key_value_heads": 1}
    made = References(tmp_path).get("LlamaModel", fields, {"plain": {"input_ids": ids}}, dtype="bfloat16")
    model = transformers.LlamaModel.from_pretrained(made.checkpoint, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor(ids)).last_hidden_state.numpy()
    np.testing.assert_array_equal(made.case("plain").outputs["last_hidden_state"], expected)
