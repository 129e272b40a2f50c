"""Kit: no key that transformers could read from a config.json is passed over."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intermodal.testing.family_tests.subject import Subject

SHARED_CODE = (
    "modeling_layers",
    "modeling_rope_utils",
    "modeling_utils",
    "masking_utils",
    "cache_utils",
    "generation.utils",
    "integrations.heterogeneity.configuration_utils",
    "integrations.sdpa_attention",
    "loss.loss_utils",
)
"""Modules of transformers that read configs of every model."""

BOOKKEEPING = frozenset(
    {"_post_init_done", "_heterogeneity_spec", "_repo_created", "_original_object_hash", "items", "setter"}
)
"""Attributes that transformers sets itself, whatever a file says."""

_CONFIGS = ("config", "text_config", "decoder_config", "effective_config", "layer_config")


class ConfigKeyTests:
    """transformers' config classes and modelling code, walked for the names of keys."""

    @pytest.mark.reference
    def test_every_field_of_transformers_config_is_in_a_table(self, subject: Subject) -> None:
        """Fields and attributes of the config class, bases included."""
        for config_class in _config_classes(subject):
            _assert_known(subject, config_names(config_class), config_class.__name__)

    @pytest.mark.reference
    def test_every_generation_setting_is_in_a_table(self, subject: Subject) -> None:
        """Settings that transformers takes from config.json where it has no generation_config.json."""
        # transformers reads them from config.json where generation_config.json is missing
        import transformers

        _assert_known(subject, set(vars(transformers.GenerationConfig())), "GenerationConfig")

    @pytest.mark.reference
    def test_every_key_that_transformers_code_reads_is_in_a_table(self, subject: Subject) -> None:
        """Keys that its code asks a config for, though no class declares them."""
        import transformers

        models = {getattr(transformers, name).__module__ for name in subject.architectures}
        methods = {name for kind in _config_classes(subject) for name in dir(kind) if callable(getattr(kind, name))}
        for module in sorted({*models, *(f"transformers.{name}" for name in SHARED_CODE)}):
            names = {name for name in keys_read(module) if not name.startswith("__")}
            _assert_known(subject, names - methods, module)

    @pytest.mark.reference
    def test_tables_were_checked_against_the_installed_transformers(self, subject: Subject) -> None:
        """The version that the tables name is the one they are compared with here."""
        import transformers

        checked = subject.config_class.checked_against
        assert transformers.__version__ == checked, (
            f"the config's tables were checked against transformers {checked}, and {transformers.__version__} is "
            "installed: go through what changed, then raise `checked_against`"
        )


def _config_classes(subject: Subject) -> list[Any]:
    """transformers' config classes of the family's architectures, each once."""
    import transformers

    return list(dict.fromkeys(getattr(transformers, name).config_class for name in subject.architectures))


def _assert_known(subject: Subject, names: set[str], where: str) -> None:
    subject.check_written()
    unknown = names - subject.config_class.known_keys() - BOOKKEEPING - set(subject.tests.unread_keys)
    assert not unknown, (
        f"{where} of transformers reads {', '.join(sorted(unknown))}, which no table of the config class mentions: "
        "make it a field, put it into `inert_keys` or `rules`, or say in `unread_keys` of the test why it has no effect"
    )


def config_names(reference: Any) -> set[str]:
    """What a config class could read from a file: fields, annotations, attributes and properties, bases included."""
    found = set(vars(reference())) | set(reference().to_dict())
    for base in reference.__mro__[:-1]:
        found |= set(getattr(base, "__annotations__", {}))
        for name, value in vars(base).items():
            if not callable(value) and not isinstance(value, classmethod | staticmethod):
                found.add(name)
    return {name for name in found if not name.startswith(("__", "_abc_"))}


def keys_read(module: str) -> Iterator[str]:
    """Names that a module reads of a config: `config.name`, `getattr(config, "name")`, `hasattr(config, "name")`."""
    source = Path(importlib.import_module(module).__file__ or "")
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and _is_config(node.value):
            yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            target, name = node.args[:2]
            if _is_config(target) and isinstance(name, ast.Constant):
                yield str(name.value)


def _is_config(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "get_text_config"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in _CONFIGS
