"""Kit: what is written back is what was read, bit for bit, and transformers loads it without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intermodal.testing.family_tests.subject import Subject


class ExportTests:
    """`save_pretrained` of loaded models."""

    @pytest.mark.backend
    def test_export_of_architecture_is_bit_for_bit(self, architecture: str, subject: Subject, tmp_path: Path) -> None:
        """The tensors of `save_pretrained` are those that were loaded."""
        reference = subject.reference(architecture)
        subject.load(reference).save_pretrained(tmp_path / "written")
        assert_same_bits(tmp_path / "written", reference.checkpoint)

    @pytest.mark.backend
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_stored_dtype_is_kept(self, dtype: str, subject: Subject, tmp_path: Path) -> None:
        """Narrow weights stay narrow where that is asked for, and are written in shards as they were either way."""
        reference = subject.reference(dtype=dtype)
        by_rule = subject.load(reference)
        by_rule.save_pretrained(tmp_path / "by_rule", max_shard_size="40KB")
        assert_same_bits(tmp_path / "by_rule", reference.checkpoint)
        model = subject.load(reference, dtype=dtype)
        stored = {name: str(v.dtype) for part in model.parts() for name, v in part.by_name.items()}
        wider = {name: kind for name, kind in stored.items() if kind != dtype}
        assert not wider, f"{dtype} was asked for, the model holds {wider}"
        model.save_pretrained(tmp_path / "written", max_shard_size="40KB")
        assert_same_bits(tmp_path / "written", reference.checkpoint)
        if model.compute_dtype == "float32":  # on an accelerator it computes in what it stores
            subject.assert_equals_reference(model, reference, about=f"stored in {dtype}, computed in float32")

    @pytest.mark.reference
    def test_transformers_loads_the_export(self, architecture: str, subject: Subject, tmp_path: Path) -> None:
        """No key is missing, unexpected or of another shape."""
        import transformers

        subject.load(subject.reference(architecture)).save_pretrained(tmp_path / "written")
        model_class = getattr(transformers, architecture)
        _, info = model_class.from_pretrained(tmp_path / "written", output_loading_info=True, dtype="float32")
        wrong = {kind: info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
        assert not wrong, f"transformers loads the export of {architecture} with {wrong}"


def assert_same_bits(written: Path, original: Path) -> None:
    """Fail unless two folders hold the same tensors: names, dtypes, shapes and bytes."""
    got, expected = _headers_and_bytes(written), _headers_and_bytes(original)
    assert got.keys() == expected.keys(), f"tensors {sorted(got.keys() ^ expected.keys())} are in one of the two"
    for name, (kind, shape, values) in got.items():
        assert (kind, shape) == expected[name][:2], f"{name} is {kind} {shape}, was {expected[name][:2]}"
        changed = int((values != expected[name][2]).sum())
        assert not changed, f"{name}: {changed} of {values.size} bytes changed"


def _headers_and_bytes(folder: Path) -> dict[str, tuple[str, tuple[int, ...], np.ndarray]]:
    """dtype, shape and bytes of every tensor in a folder's safetensors files, read by safetensors itself."""
    from safetensors import deserialize

    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), np.frombuffer(bytes(tensor["data"]), np.uint8))
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in deserialize(path.read_bytes())
    }
