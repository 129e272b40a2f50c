"""Kit: heads. The one a checkpoint has is loaded, another one is new and said to be, and labels follow the tensor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intermodal.testing.family_tests.checkpoints import rewritten, variables_of
from intermodal.testing.family_tests.subject import Subject, differences, outputs_of

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

_UNNAMED: dict[str, Any] = {"id2label": None, "label2id": None, "num_labels": None}
LABELS = {"none": _UNNAMED, "seven": {**_UNNAMED, "id2label": {str(number): f"label {number}" for number in range(7)}}}
"""Keys of config.json that disagree with a head of five rows."""


class HeadTests:
    """Tasks that a checkpoint was saved for, and others."""

    def test_another_task_gets_a_new_head(self, task: str, subject: Subject) -> None:
        """Asked for another task than the checkpoint's: its backbone, a new head, and warnings that say so."""
        source = next((name for name in subject.architectures if subject.task(name) != task), None)
        subject.needs("second task", source is not None)
        reference = subject.reference(source)
        model, said = _loaded(subject, reference.checkpoint, task)
        assert model.task == task
        assert model.report is not None
        new, about = model.report.new, f"{source}, loaded for {task}"
        held = {weight.name for weight in subject.weight_map(architecture=source).weights}
        missing = {w.name for w in model.weight_map.weights if w.head and not w.tied_to} - held
        assert missing <= set(new), f"{about}: {sorted(missing)} are in no file, and the report does not call them new"
        silent = [name for name in new if not any(name in text and "NEW" in text for text in said)]
        assert not silent, f"{about}: no warning says that {silent} are new"
        own, got = variables_of(subject.load(reference)), variables_of(model)
        trained = own.keys() & got.keys() - set(new)
        assert trained, f"{about}: no weight of the checkpoint is in it"
        changed = [name for name in sorted(trained) if not np.array_equal(got[name], own[name])]
        assert not changed, f"{about}: {', '.join(changed[:8])} are not as in the checkpoint"

    def test_labels_follow_the_head_tensor(self, labelled: str, subject: Subject, tmp_path: Path) -> None:
        """Where config.json has another number of labels, the tensor is right, and a warning says so."""
        reference = subject.reference(labelled)
        expected = reference.case("plain")
        for named, keys in LABELS.items():
            folder = rewritten(reference, tmp_path / named, lambda tensors: tensors, **keys)
            model, said = _loaded(subject, folder, None)
            about = f"{labelled} of five labels, {named} in config.json"
            assert any("labels" in text for text in said), f"{about}: no warning says so"
            wrong = differences(outputs_of(model, expected.inputs), expected, 1e-4)
            assert not wrong, f"{about}: {'; '.join(wrong)}"


def _loaded(subject: Subject, folder: Path, task: str | None) -> tuple[TaskModel, list[str]]:
    """A model, and the warnings that loading it gave."""
    import intermodal

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = intermodal.load(folder, task, family=subject.tests.family, progress=False)
    return model, [str(warning.message) for warning in caught]
