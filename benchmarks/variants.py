"""Which config variants of four families come out as transformers computes them: here, and in KerasHub.

Every variant of the conformance kit, and every value that a family refuses, becomes a small random checkpoint made by
transformers: norms and biases random too, stored in bfloat16 as nearly all published ones are, so that rounding to
float16 on the way loses nothing. Each is written twice, as transformers 5 spells config.json and as transformers 4 did.
A tool is right where its float32 logits are within 1e-4 of the scale of transformers', wrong in silence where they are
not, and refuses where it raises. What a family refuses is written in the newer spelling alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from common import in_process, machine

TOLERANCE = 1e-4
SPELLINGS = ("transformers 5", "transformers 4")
TOOLS = ("intermodal", "keras-hub")
OUTCOMES = ("right", "wrong in silence", "refused")
ROOT = Path(__file__).parents[1]
FULL, SLIDING = "full_attention", "sliding_attention"


def make(target: Path) -> list[dict[str, Any]]:
    """Write the checkpoints and what transformers computes from them; one entry each."""
    from intermodal.testing.family_tests import Variant
    from intermodal.testing.family_tests.subject import Subject
    from intermodal.testing.references import References

    entries = []
    for tests in families():
        subject = Subject(tests, References(target / "references"))
        refused = {f"{name} (refused here)": Variant(changes) for name, changes in tests.refused.items()}
        for name, variant in {**subject.variants, **refused}.items():
            changes, inputs = variant.changes, {"plain": tests.inputs(subject.task())}
            if "quantization_config" in changes:  # it says how the weights are stored, and these are not stored so
                continue
            entry = {"family": tests.family, "variant": name, "changes": dict(changes)}
            try:
                reference = subject.reference(variant.architecture, changes, cases=inputs, dtype="bfloat16")
            except Exception as error:  # transformers refuses it, or needs a library that is not here
                print(f"left out: {tests.family}, {name}: {type(error).__name__}: {str(error)[:160]}", file=sys.stderr)
                continue
            raw = {**reference.raw, **{key: value for key, value in changes.items() if key not in reference.raw}}
            spellings = (raw,) if name in refused else (raw, tests.older_spelling(dict(raw)))
            for spelling, config in zip(SPELLINGS, spellings, strict=False):
                folder = target / "spelled" / spelling / reference.folder.name
                shutil.copytree(reference.checkpoint, folder, dirs_exist_ok=True)
                (folder / "config.json").write_text(json.dumps(config))
                cases = str(reference.folder / "cases.npz")
                entries.append({**entry, "spelling": spelling, "folder": str(folder), "cases": cases})
    return entries


def families() -> Iterator[Any]:
    """The kit's test classes of the official families."""
    from intermodal.testing import FamilyTests

    for path in sorted((ROOT / "plugins").glob("*/tests/test_*_conformance.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for value in vars(module).values():
            is_own = isinstance(value, type) and issubclass(value, FamilyTests) and value is not FamilyTests
            if is_own and not value.family.startswith("gemma3"):
                yield value
    yield gemma()


def gemma() -> Any:
    """Gemma 3's text model, shaped as the published ones are: KerasHub knows no other order of layers."""
    from intermodal.testing import FamilyTests

    def ropes(full: Mapping[str, Any], sliding: float = 1e4) -> dict[str, Any]:
        local = {"rope_type": "default", "rope_theta": sliding}
        return {"rope_parameters": {FULL: dict(full), SLIDING: local}}

    class Gemma3(FamilyTests):
        family = "gemma3_text"
        tiny: ClassVar = {
            "vocab_size": 96,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "max_position_embeddings": 128,
            "sliding_window": 9,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        }
        variants: ClassVar = {
            "query_pre_attn_scalar": {"query_pre_attn_scalar": 5},
            "one key-value head": {"num_key_value_heads": 1},
            "global theta": ropes({"rope_type": "default", "rope_theta": 50.0}),
            "local theta": ropes({"rope_type": "default", "rope_theta": 1e6}, 50.0),
            "rope linear": ropes({"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}),
            "window of one": {"sliding_window": 1},
            "all layers full": {"layer_types": [FULL] * 6},
            "other order of layers": {"layer_types": [FULL, SLIDING] * 3},
            "exact gelu": {"hidden_activation": "gelu"},
            "final_logit_softcapping": {"final_logit_softcapping": 3.0},
            "looks both ways": {"use_bidirectional_attention": True},
        }

        @classmethod
        def older_spelling(cls, raw: dict[str, Any]) -> dict[str, Any]:
            parameters = raw.pop("rope_parameters")
            scaling = {key: value for key, value in parameters[FULL].items() if key != "rope_theta"}
            raw["rope_theta"] = parameters[FULL]["rope_theta"]
            raw["rope_local_base_freq"] = parameters[SLIDING]["rope_theta"]
            raw["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
            raw["torch_dtype"] = raw.pop("dtype")
            return {**raw, "transformers_version": "4.50.0"}

    return Gemma3


def intermodal_outputs(family: str, folder: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """What a model of ours returns, by transformers' names."""
    import intermodal

    model = intermodal.load(folder, dtype="float32", family=family, progress=False)
    result = model(inputs)
    return result if isinstance(result, dict) else {"logits": result}


def keras_hub_outputs(family: str, folder: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """What KerasHub's model of the family returns, by transformers' names."""
    from keras_hub import models

    named = {"token_ids": inputs["input_ids"], "padding_mask": np.ones_like(inputs["input_ids"])}
    if family == "bert":
        named["segment_ids"] = inputs["token_type_ids"]
        result = models.BertBackbone.from_preset(folder, dtype="float32")(named)
        return {"last_hidden_state": result["sequence_output"], "pooler_output": result["pooled_output"]}
    classes = {"llama": "Llama3CausalLM", "mistral": "MistralCausalLM", "gemma3_text": "Gemma3CausalLM"}
    model = getattr(models, classes[family]).from_preset(folder, preprocessor=None, dtype="float32")
    return {"logits": model(named)}


def judge(tool: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Load every checkpoint with one tool and compare."""
    from keras import ops

    outputs = {"intermodal": intermodal_outputs, "keras-hub": keras_hub_outputs}[tool]
    verdicts = []
    for entry in entries:
        stored = np.load(entry["cases"])
        lead = "plain/inputs/"
        inputs = {name.removeprefix(lead): stored[name] for name in stored.files if name.startswith(lead)}
        found: dict[str, Any] = {}
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            try:
                got = outputs(entry["family"], entry["folder"], inputs)
            except Exception as error:
                found = {"outcome": "refused", "error": f"{type(error).__name__}: {one_line(str(error))}"}
        if not found:
            worst = max(
                difference(np.asarray(ops.convert_to_numpy(value), np.float32), stored[f"plain/outputs/{name}"])
                for name, value in got.items()
            )
            found = {"outcome": OUTCOMES[0 if worst <= TOLERANCE else 1], "difference": worst}
        verdicts.append(found)
    return verdicts


def one_line(message: str) -> str:
    """The beginning of an error, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    return textwrap.shorten(" ".join(plain.split()), 180, placeholder=" …")


def difference(values: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the largest expected value; infinite where shapes differ."""
    if values.shape != expected.shape or not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def said(verdict: Mapping[str, Any]) -> str:
    """A verdict as a cell of the table."""
    return f"wrong by {verdict['difference']:.2g}" if verdict["outcome"] == OUTCOMES[1] else verdict["outcome"]


def report(entries: list[dict[str, Any]]) -> str:
    """Totals, every variant, and what the refusals say, in Markdown."""
    lines = ["| family | tool | right | wrong in silence | refused |", "|---|---|---|---|---|"]
    names = list(dict.fromkeys(entry["family"] for entry in entries))
    for family in (*names, "all"):
        for tool in TOOLS:
            counts = Counter(e[tool]["outcome"] for e in entries if tool in e and family in (e["family"], "all"))
            lines.append(f"| {family} | {tool} | " + " | ".join(str(counts[outcome]) for outcome in OUTCOMES) + " |")
    lines += ["", f"| family | variant | {' | '.join(f'{t}, {s}' for t in TOOLS for s in SPELLINGS)} |"]
    lines.append("|---|---|" + "---|" * 4)
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for entry in entries:
        row = rows.setdefault((entry["family"], entry["variant"]), {})
        row |= {(tool, entry["spelling"]): said(entry[tool]) for tool in TOOLS if tool in entry}
    for (family, variant), row in rows.items():
        cells = [row.get((tool, spelling), "") for tool in TOOLS for spelling in SPELLINGS]
        lines.append(f"| {family} | {variant} | {' | '.join(cells)} |")
    lines += ["", "What the refusals say:", ""]
    seen: dict[str, list[str]] = {}
    for entry in entries:
        for tool in TOOLS:
            if error := entry.get(tool, {}).get("error"):
                about = f"{entry['family']} {entry['variant']}"
                seen.setdefault(f"{tool}: {error}", []).append(about)
    lines += [f"- {error} ({', '.join(dict.fromkeys(about))})" for error, about in seen.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "intermodal-variants")
    parser.add_argument("--json", type=Path, help="keep the verdicts and the versions in this file")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    args = parser.parse_args()
    index = args.cache / "entries.json"
    if args.way == "make":
        args.cache.mkdir(parents=True, exist_ok=True)
        index.write_text(json.dumps(make(args.cache)))
        print("{}")
        return
    if args.way:
        verdicts = judge(args.way, json.loads(index.read_text()))
        print(json.dumps({"verdicts": verdicts}))
        return
    cache = ("--cache", str(args.cache))
    if in_process(__file__, "make", *cache, backend="jax") is None:
        sys.exit("The checkpoints could not be made.")
    entries = json.loads(index.read_text())
    for tool in TOOLS:
        result = in_process(__file__, tool, *cache, backend="jax")
        for entry, verdict in zip(entries, (result or {}).get("verdicts", []), strict=False):
            entry[tool] = verdict
    print(report(entries))
    if args.json:
        kept = [
            {key: e[key] for key in ("family", "variant", "spelling", "changes", *TOOLS) if key in e} for e in entries
        ]
        args.json.write_text(json.dumps({"machine": machine(), "variants": kept}, indent=2) + "\n")


if __name__ == "__main__":
    main()
