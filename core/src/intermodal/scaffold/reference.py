"""What transformers' source says of a model type, read as text: its classes, its config's fields and their defaults.

transformers is not imported: that takes seconds, and it need not be installed.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reference:
    """transformers' own form of a model.

    Attributes:
        stem: what its class names begin with; empty where transformers does not have the model.
        models: its model classes.
        config_class: the name of its config class.
        fields: name → (annotation, default) of the config; the default is `...` where it is no literal.
        modeling: text of the modelling code.
    """

    stem: str = ""
    models: tuple[str, ...] = ()
    config_class: str = ""
    fields: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    modeling: str = ""

    def reads(self, name: str) -> bool:
        """Whether the config has a field, or the modelling code asks for it by name."""
        return name in self.fields or re.search(rf'config\.{name}\b|config, "{name}"', self.modeling) is not None


def reference_of(model_type: str) -> Reference:
    """The model as transformers has it; an empty `Reference` where it is not installed or does not know it."""
    spec = importlib.util.find_spec("transformers")
    places = list(spec.submodule_search_locations or ()) if spec else []
    module = model_type.replace("-", "_")
    folder = Path(places[0], "models", module) if places else None
    if folder is None or not re.fullmatch(r"\w+", module) or not (folder / f"modeling_{module}.py").is_file():
        return Reference()
    modeling = (folder / f"modeling_{module}.py").read_text(encoding="utf-8")
    models = tuple(_models(ast.parse(modeling)))
    configuration = folder / f"configuration_{module}.py"
    config_class, fields = "", {}
    if configuration.is_file():
        config_class, fields = _config(ast.parse(configuration.read_text(encoding="utf-8")), model_type)
    return Reference(_common(models), models, config_class, fields, modeling)


def _common(names: tuple[str, ...]) -> str:
    """What all names begin with."""
    first, last = min(names, default=""), max(names, default="")
    same = (number for number, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _models(tree: ast.Module) -> Iterator[str]:
    """Classes in `__all__` that derive from a PreTrainedModel, that base itself left out."""
    listed: list[str] = []
    bases = {
        node.name: [ast.unparse(base) for base in node.bases] for node in tree.body if isinstance(node, ast.ClassDef)
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed = [item for item in ast.literal_eval(node.value) if isinstance(item, str)]

    def derives(name: str) -> bool:
        return name.endswith("PreTrainedModel") or any(derives(base) for base in bases.get(name, ()))

    yield from (name for name in listed if derives(name) and not name.endswith("PreTrainedModel"))


def _config(tree: ast.Module, model_type: str) -> tuple[str, dict[str, tuple[str, Any]]]:
    """The config class of a model type, and its declared fields."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _assigned(node, "model_type") == model_type:
            declared = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            return node.name, {
                ast.unparse(item.target): (ast.unparse(item.annotation), _literal(item.value)) for item in declared
            }
    return "", {}


def _assigned(node: ast.ClassDef, name: str) -> Any:
    values = [item.value for item in node.body if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == name]
    return _literal(values[0]) if values else None


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else ...
    except ValueError:
        return ...
