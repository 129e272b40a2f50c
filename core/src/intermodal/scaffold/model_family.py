"""The family that a new one is like: its installed source, and that source under the new family's names."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from intermodal.errors import PluginError
from intermodal.families import Family, resolve
from intermodal.plugins import LoadedFamily, manager
from intermodal.scaffold.names import Names
from intermodal.scaffold.python_source import own_imports

DIALECT = "gguf"
_HEAD = re.compile(r"(.+?)(?:For[A-Z]\w*|(?:Text)?Model|(?:Text)?Config|(?:Text)?Backbone)")


@dataclass(frozen=True)
class ModelFamily:
    """An installed family that serves as the model of a new one."""

    loaded: LoadedFamily

    @property
    def family(self) -> Family:
        """Its declaration."""
        return self.loaded.family

    @property
    def package(self) -> str:
        """The package of its source."""
        return self.family.config.partition(".")[0]

    @cached_property
    def config_class(self) -> type:
        """Its config class, which is imported: that is light."""
        return resolve(self.family.config)

    @property
    def dotted(self) -> dict[str, str]:
        """The parts that a new family takes over: attribute of the declaration → dotted string in this package."""
        family = self.family
        parts = {"config": family.config, "weight_map": family.weight_map, "backbone": family.backbone}
        parts |= {f"dialects.{name}": dotted for name, dotted in family.dialects.items() if name == DIALECT}
        parts |= {
            f"task_classes.{task}": dotted for task, dotted in family.task_classes.items() if isinstance(dotted, str)
        }
        parts |= {name: getattr(family, name) for name in ("image_processor", "feature_extractor", "processor")}
        return {name: dotted for name, dotted in parts.items() if dotted}

    def modules(self) -> dict[str, str]:
        """Text of each module that these parts are in, and of those that they import; name without `.py` → text."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None  # it was loaded from there
        assert spec.submodule_search_locations
        folder = Path(spec.submodule_search_locations[0])
        waiting = {
            dotted.partition(":")[0].removeprefix(f"{self.package}.").replace(".", "/")
            for dotted in self.dotted.values()
            if dotted.startswith(f"{self.package}.")
        }
        found: dict[str, str] = {}
        while waiting:
            name = waiting.pop()
            path = folder / f"{name}.py"
            if name not in found and path.is_file():
                found[name] = path.read_text(encoding="utf-8")
                waiting |= own_imports(found[name], self.package)
        return dict(sorted(found.items()))

    def renamed(self, text: str, names: Names) -> str:
        """Text of this family with the new family's names in it."""
        found = {match[1] for name in self._class_names() if (match := _HEAD.fullmatch(name))}
        stems = {stem for stem in found if not any(stem != other and stem.startswith(other) for other in found)}
        words = {name for name in (self.family.name, *self.family.model_types) if "." not in name}
        for pattern, new in (
            (rf"\b{re.escape(self.package)}\b", names.package),
            (rf"\b{re.escape(self.package.replace('_', '-'))}\b", names.dist),
            (rf"\b(?:{_any(stems)})\d*(?=[A-Z]|\b)", names.stem),
            (rf"(?<![\w-])(?:{_any(words)})(?![\w-]|\.cpp)", names.model_type),
            (rf"\b(?:{_any(word.upper() for word in words)})(?=_)", names.constant),
            (rf"\b(?:{_any(word.upper() for word in words)})\b", names.stem),
        ):
            text = re.sub(pattern, new, text)
        return text

    def task_of(self, architecture: str) -> str | None:
        """The task of another family's class, by what its name ends with: `BloomForCausalLM` is like `…ForCausalLM`."""
        for own, task in self.family.architectures.items():
            stem = _HEAD.fullmatch(own)
            if stem and architecture.endswith(own.removeprefix(stem[1])):
                return task
        return None

    def _class_names(self) -> list[str]:
        dotted = (self.family.config, self.family.backbone)
        return [*self.family.architectures, *(part.rpartition(":")[2] for part in dotted)]


def model_family(name: str) -> ModelFamily:
    """The installed family of that name: a family's, a distribution's, or a model type.

    Raises:
        PluginError: none is called so, or its parts are not in one package.
    """
    found = ModelFamily(manager().family("", override=name))
    outside = [dotted for dotted in list(found.dotted.values())[:3] if not dotted.startswith(f"{found.package}.")]
    if outside:
        raise PluginError(
            f"{found.loaded} keeps {', '.join(outside)} outside of its package: take another one for --like."
        )
    return found


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))
