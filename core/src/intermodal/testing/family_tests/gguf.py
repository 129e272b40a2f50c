"""Kit: a GGUF file of the tiny model gives the same logits, and is one that others would read alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from intermodal.testing.family_tests.config_fields import said
from intermodal.testing.family_tests.subject import Subject
from intermodal.testing.references import Reference
from intermodal.weights.map import prefixed

if TYPE_CHECKING:
    from intermodal.examination import Examined

DIALECT = "gguf"
ARCHITECTURE = "general.architecture"


class GGUFTests:
    """Files that the `gguf` package writes, where the family declares the dialect."""

    @pytest.mark.backend
    def test_gguf_file(self, gguf_variant: str, subject: Subject, tmp_path: Path) -> None:
        """The outputs of a file written under the map's GGUF names."""
        changes = subject.tests.gguf_variants[gguf_variant]
        reference = subject.reference(subject.tests.gguf_architecture, changes)
        model = subject.load(written(subject, reference, tmp_path))
        subject.assert_equals_reference(model, reference, about=f"GGUF, {said(changes)}")

    def test_gguf_names_are_llama_cpps(self, subject: Subject) -> None:
        """The names in the map are those of llama.cpp's converter."""
        import gguf

        subject.needs("GGUF", DIALECT in subject.family.dialects)
        numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
        weight_map, wrong, compared = subject.weight_map(None, subject.tests.gguf_architecture), [], 0
        blocks = max([weight.block[1] + 1 for weight in weight_map.weights if weight.block], default=0)
        config = subject.config_class.from_hf(subject.raw())[0]
        theirs = gguf.get_tensor_name_map(numbers[_metadata(subject, config)[ARCHITECTURE]], blocks)
        for weight in weight_map.weights:
            leads = ("",) if weight.head else (weight_map.prefix, weight_map.base_prefix)  # its table has one of them
            names = (theirs.get_name(prefixed(lead, weight.name), try_suffixes=(".weight", ".bias")) for lead in leads)
            expected = next(filter(None, names), None)
            if expected is not None and weight.tied_to is None:
                alias = weight.aliases.get(DIALECT)
                compared += 1
                if alias is None or alias.name != expected:
                    wrong.append(f"{weight.name}: llama.cpp calls it {expected}, the map {alias and alias.name}")
        assert compared, "llama.cpp's table of names knows none of these weights"
        assert not wrong, "\n".join(wrong)

    @pytest.mark.reference
    def test_transformers_reads_the_gguf_file_alike(self, subject: Subject, tmp_path: Path) -> None:
        """The values in that file mean the same to transformers."""
        # The file was written with the aliases that are tested: only another reader tells whether they are right.
        import transformers
        from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

        subject.needs("GGUF", DIALECT in subject.family.dialects)
        architecture = _metadata(subject, subject.config_class.from_hf(subject.raw())[0])[ARCHITECTURE]
        if architecture not in GGUF_CONFIG_MAPPING:
            pytest.skip(f"transformers {transformers.__version__} reads no GGUF files of {architecture}")
        reference = subject.reference(subject.tests.gguf_architecture)
        path = written(subject, reference, tmp_path)
        model_class: Any = getattr(transformers, reference.architecture)
        state = model_class.from_pretrained(tmp_path, gguf_file=path.name, dtype="float32").state_dict()
        expected = model_class.from_pretrained(reference.checkpoint, dtype="float32").state_dict()
        differing = [
            name
            for name, values in expected.items()
            if not np.allclose(state[name].numpy(), values.numpy(), rtol=1e-6, atol=1e-6)
        ]
        assert not differing, f"transformers reads other values than were written for {', '.join(differing[:8])}"


def written(subject: Subject, reference: Reference, folder: Path) -> Path:
    """A reference as a GGUF file."""
    from intermodal.examination import examine
    from intermodal.testing.gguf_file import gguf_tensors, write_gguf

    examined: Examined = examine(str(reference.checkpoint), family=subject.tests.family)
    metadata = _metadata(subject, examined.config)
    architecture = metadata.pop(ARCHITECTURE)
    return write_gguf(folder / "tiny.gguf", architecture, metadata, gguf_tensors(examined))


def _metadata(subject: Subject, config: Any) -> dict[str, Any]:
    """The author's keys, and the architecture: theirs, else the first that the family claims."""
    if subject.tests.gguf_metadata is None:
        pytest.fail("the family reads GGUF: give the test class a gguf_metadata(config) -> dict of keys", pytrace=False)
    metadata = dict(subject.tests.gguf_metadata(config))
    claimed = [name for name in subject.family.model_types if name.startswith(f"{DIALECT}.")]
    if ARCHITECTURE not in metadata:
        assert claimed, f"the family claims no {DIALECT}.<architecture>: let gguf_metadata give {ARCHITECTURE}"
        metadata[ARCHITECTURE] = claimed[0].removeprefix(f"{DIALECT}.")
    return metadata
