"""Kit: what a plugin declares about itself holds, and declaring it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from intermodal.testing.family_tests.subject import Subject

HEAVY = ("keras", "torch", "jax", "tensorflow", "transformers", "numpy")


class MetadataTests:
    """The declaration and the metadata of the distribution."""

    def test_entry_points_are_the_model_types(self, subject: Subject) -> None:
        """What the distribution claims is what the families declare."""
        from intermodal.catalog import FAMILIES

        entry_points = {entry.name for entry in subject.distribution.entry_points if entry.group == FAMILIES}
        families = subject.owner.plugin.families
        dialects = tuple(f"{dialect}." for family in families for dialect in family.dialects)
        declared = {model_type for family in families for model_type in family.model_types}
        # a dialect's key may stand for the family without being a model type
        missing = declared - entry_points
        extra = {key for key in entry_points - declared if not key.startswith(dialects)}
        assert not missing, f"model_types {sorted(missing)} have no entry point in group {FAMILIES}"
        assert not extra, f"entry points {sorted(extra)} are no model_type of {[family.name for family in families]}"

    def test_importing_the_plugin_is_light(self, subject: Subject) -> None:
        """Listing plugins pulls in no framework, nor numpy."""
        from intermodal.catalog import FAMILIES

        modules = {entry.value for entry in subject.distribution.entry_points if entry.group == FAMILIES}
        code = f"import sys, {', '.join(sorted(modules))}; print(*(name for name in {HEAVY} if name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert not done.stdout.split(), f"importing {', '.join(modules)} pulls in {done.stdout.split()}"

    def test_dotted_strings_resolve(self, subject: Subject) -> None:
        """Each names something, of the right kind."""
        wrong = list(_unresolved(subject))
        assert not wrong, "\n".join(wrong)

    def test_every_task_has_a_class(self, subject: Subject) -> None:
        """Each architecture's task is one that there is."""
        from intermodal.tasks import task_class

        assert subject.architectures, "a family without architectures reads no checkpoint"
        for task in subject.family.architectures.values():
            assert task_class(subject.family, task).task == task

    def test_what_is_refused_is_not_read_and_has_a_reason(self, subject: Subject) -> None:
        """The messages for what looks near and differs."""
        both = set(subject.family.refused) & {*subject.family.architectures, *subject.family.model_types}
        assert not both, f"{sorted(both)} are both read and refused"
        silent = [name for name, reason in subject.family.refused.items() if not reason.strip()]
        assert not silent, f"{silent} are refused without a reason"

    @pytest.mark.reference
    def test_every_architecture_of_transformers_is_read_or_refused(self, subject: Subject) -> None:
        """The classes beside those that the family reads: each is declared, in this family or another of the plugin."""
        import transformers

        declared = {
            name for family in subject.owner.plugin.families for name in (*family.architectures, *family.refused)
        }
        for module in {getattr(transformers, name).__module__ for name in subject.architectures}:
            named = {name: getattr(transformers, name) for name in sys.modules[module].__all__}
            models = {name for name, model in named.items() if issubclass(model, transformers.PreTrainedModel)}
            unknown = sorted(name for name in models - declared if not name.endswith("PreTrainedModel"))
            assert not unknown, (
                f"{module} has {', '.join(unknown)} too: read them, or say in `refused` of the declaration why not"
            )

    def test_api_version_is_the_running_one(self, subject: Subject) -> None:
        """It was tested with this contract."""
        from intermodal.families import API_VERSION

        assert subject.family.api == API_VERSION, "set Family.api to the version it was tested with"

    def test_requirement_on_core_is_bounded(self, subject: Subject) -> None:
        """Neither too old a core nor one that may break it is taken."""
        from packaging.requirements import Requirement

        required = [Requirement(line) for line in subject.distribution.requires or ()]
        on_core = [requirement for requirement in required if requirement.name == "intermodal"]
        assert on_core, "Requires-Dist does not name intermodal"
        operators = {specifier.operator for requirement in on_core for specifier in requirement.specifier}
        bounded = "~=" in operators or (operators & {">=", ">"} and operators & {"<", "<="})
        assert bounded, f"{on_core[0]}: give the oldest version that works, and stay below the next that may break it"

    def test_metadata_is_complete(self, subject: Subject) -> None:
        """Name, version, summary, Python and license are stated."""
        about = subject.distribution.metadata
        for field in ("Name", "Version", "Summary", "Requires-Python"):
            assert about[field], f"the distribution has no {field}"
        assert about["License-Expression"] or about["License"], "the distribution states no license"


def _unresolved(subject: Subject) -> Iterator[str]:
    """A sentence for each dotted string that names nothing, or something of another kind."""
    from intermodal.config import ModelConfig
    from intermodal.families import resolve
    from intermodal.layers.backbone import Backbone
    from intermodal.tasks.base import TaskModel

    family = subject.family
    named: list[tuple[str, str, type | None]] = [
        ("config", family.config, ModelConfig),
        ("backbone", family.backbone, Backbone),
        ("weight_map", family.weight_map, None),
        *((f"dialects[{name!r}]", dotted, None) for name, dotted in family.dialects.items()),
        *(
            (f"task_classes[{task!r}]", dotted, TaskModel)
            for task, dotted in family.task_classes.items()
            if isinstance(dotted, str)
        ),
    ]
    for attribute, dotted, base in named:
        try:
            found = resolve(dotted)
        except (ImportError, AttributeError) as error:
            yield f"{attribute} = {dotted!r} names nothing: {error}"
            continue
        if base is not None and not (isinstance(found, type) and issubclass(found, base)):
            yield f"{attribute} = {dotted!r} is {found!r}, expected a subclass of {base.__name__}"
        elif not callable(found):
            yield f"{attribute} = {dotted!r} is {found!r}, expected a function"
