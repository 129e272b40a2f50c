"""The files of a new plugin beside its source: pyproject.toml, README, declaration and test class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intermodal import catalog
from intermodal.scaffold.model_family import DIALECT, ModelFamily
from intermodal.scaffold.names import Names
from intermodal.scaffold.python_source import import_lines, listed, quoted
from intermodal.scaffold.reference import Reference
from intermodal.testing.decoders import TINY_DECODER
from intermodal.unfinished import FILL_IN

TINY: Mapping[str, Any] = {**TINY_DECODER, "type_vocab_size": 2}
UNVARIED = f"{FILL_IN}: give VARIANTS a value that changes the outputs, or say here why none can be seen"


@dataclass(frozen=True)
class Project:
    """What these files are made from.

    Attributes:
        names: of the new plugin.
        model: the family that it is like.
        reference: transformers' form of the model.
        fields: of the new config class: name → default.
        modules: name → first paragraph of the docstring, of the modules that were written.
    """

    names: Names
    model: ModelFamily
    reference: Reference
    fields: Mapping[str, Any]
    modules: Mapping[str, str]

    @property
    def gguf(self) -> bool:
        """Whether the family reads GGUF files."""
        return DIALECT in self.model.family.dialects

    @property
    def architectures(self) -> dict[str, str]:
        """Class name → task: transformers' classes as far as the like family has such a task, else its own renamed."""
        if not self.reference.models:
            own = self.model.family.architectures
            return {self.model.renamed(name, self.names): task for name, task in own.items()}
        found = {name: self.model.task_of(name) for name in self.reference.models}
        order = list(dict.fromkeys(self.model.family.architectures.values()))
        read = {name: task for name, task in found.items() if task is not None}
        return dict(sorted(read.items(), key=lambda item: order.index(item[1])))

    @property
    def model_types(self) -> tuple[str, ...]:
        """What the plugin claims."""
        own = self.names.model_type
        return (own, f"{DIALECT}.{own}") if self.gguf else (own,)

    def files(self) -> dict[str, str]:
        """Path in the project → text."""
        package = self.names.package
        return {
            "pyproject.toml": self._pyproject(),
            "README.md": self._readme(),
            f"src/{package}/__init__.py": f'"""The {self.names.stem} family for intermodal."""\n',
            f"src/{package}/plugin.py": self._plugin(),
            f"tests/test_{self.names.name.replace('-', '_')}_conformance.py": self._tests(),
        }

    def _pyproject(self) -> str:
        from importlib import metadata

        about = metadata.metadata(self.model.loaded.plugin.name)
        version = catalog.running_version().split(".")
        bounds = (
            f">={version[0]}.{version[1]},<{version[0]}.{int(version[1]) + 1}" if len(version) > 1 else ">=0.1,<0.2"
        )
        claims = "\n".join(
            f'{name if "." not in name else quoted(name)} = "{self.names.package}.plugin"' for name in self.model_types
        )
        return f"""[project]
name = "{self.names.dist}"
version = "0.1.0"
description = "{self.names.stem} for intermodal (model_type {self.names.model_type})"
readme = "README.md"
requires-python = ">=3.11"
license = "{about["License-Expression"] or "Apache-2.0"}"
maintainers = [{{ name = "{FILL_IN}: who answers for the family" }}]
keywords = ["intermodal", "{self.names.name}", "keras"]
dependencies = ["intermodal{bounds}"]

[project.entry-points."intermodal.families"]
{claims}

[tool.intermodal]
tier = "incubating"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["src/{self.names.package}"]
"""

    def _readme(self) -> str:
        rows = "\n".join(f"| `{name}` | `{task}` |" for name, task in self.architectures.items())
        modules = {"plugin": "what intermodal finds: model types, architectures and tasks", **self.modules}
        width = max(len(name) for name in modules) + 6
        places = "\n".join(f"      {f'{name}.py':{width}}{about}" for name, about in modules.items())
        return f"""# {self.names.dist}

{FILL_IN}: which models of which sizes this family is, for intermodal. It was started from {self.model.loaded.plugin}.

    pip install {self.names.dist}

## What is read

| `architectures` | task |
|---|---|
{rows}

{FILL_IN}: a table of what each group of config fields may say, and what is refused.

## Tried with

{FILL_IN}: the checkpoints that were loaded, and with what result.

## Where to look

    src/{self.names.package}/
{places}
"""

    def _plugin(self) -> str:
        names, model = self.names, self.model
        lines = [f'        "{name}": "{task}",' for name, task in self.architectures.items()]
        unread = [name for name in self.reference.models if name not in self.architectures]
        refused = [f'        "{name}": "{FILL_IN}: why it is not read, or its task above",' for name in unread]
        parts = {name: model.renamed(dotted, names) for name, dotted in model.dotted.items()}
        single = [name for name in ("image_processor", "feature_extractor", "processor") if name in parts]
        own = ["config", "backbone", "weight_map", *single]
        groups = {
            group: {name.partition(".")[2]: text for name, text in parts.items() if name.startswith(f"{group}.")}
            for group in ("dialects", "task_classes")
        }
        entries = [
            f"    name={quoted(names.model_type)},",
            f"    model_types={listed(map(quoted, self.model_types))},",
            *(f"    {name}={quoted(parts[name])}," for name in own),
            "    architectures={",
            *lines,
            "    },",
        ]
        for group, members in groups.items():
            if members:
                shown = ", ".join(f"{quoted(name)}: {quoted(text)}" for name, text in members.items())
                entries.append(f"    {group}={{{shown}}},")
        if refused:
            entries += ["    refused={", *refused, "    },"]
        entry = "\n".join(entries)
        about = f"What this package adds to intermodal: the {names.stem} family. Importing it loads nothing heavy."
        return f'''"""{about}"""

from __future__ import annotations

from intermodal.api import Family, hookimpl

{names.constant} = Family(
{entry}
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the {names.stem} family."""
    return [{names.constant}]
'''

    def _tests(self) -> str:
        rotary = "rope" in self.fields
        decoder = set(TINY_DECODER) <= set(self.fields)
        imports = {"FamilyTests"}
        variants, refused = [], []
        if rotary:
            imports |= {"ROPE_REFUSED", "ROPE_VARIANTS"}
            variants, refused = ["    **ROPE_VARIANTS,"], ["    **ROPE_REFUSED,"]
        if "head_dim" in self.fields:
            variants.append('    "head_dim": {"head_dim": 24},')
        acts = [name for name, default in self.fields.items() if isinstance(default, str) and "act" in name]
        refused += [f'    "{name}": {{"{name}": "no such function"}},' for name in acts]
        left = [name for name, default in self.fields.items() if self._is_left(name, default)]
        unvaried = [f'    "{name}": "{UNVARIED}",' for name in left]
        if decoder:
            imports.add("TINY_DECODER")
            tiny = ["TINY = TINY_DECODER"]
        else:
            sizes = [f'    "{name}": {value},' for name, value in TINY.items() if name in self.fields]
            tiny = ["TINY = {", *sizes, "}"]
        gguf: list[str] = []
        if self.gguf and rotary and decoder:
            imports.add("decoder_gguf_metadata")
            gguf = [f"    return decoder_gguf_metadata(config, {quoted(self.names.model_type)})"]
        elif self.gguf:
            gguf = ['    unfinished("give the keys of a GGUF file of this config, as llama.cpp writes them")']
        return "\n".join(
            [
                f'"""{self.names.stem} against the conformance kit."""',
                "",
                *(["from typing import Any", ""] if gguf else []),
                *(["from intermodal.api import unfinished"] if gguf and "unfinished" in gguf[0] else []),
                *import_lines(imports, "intermodal.testing"),
                "",
                *tiny,
                *_table("VARIANTS", variants),
                *_table("REFUSED", refused),
                *_table("UNVARIED", unvaried),
                *(["", "", *_gguf_head(), *gguf] if gguf else []),
                "",
                "",
                f"class Test{self.names.stem}(FamilyTests):",
                f"    family = {quoted(self.names.model_type)}",
                "    tiny = TINY",
                "    variants = VARIANTS",
                "    refused = REFUSED",
                "    unvaried = UNVARIED",
                *(["    gguf_metadata = staticmethod(gguf_metadata)"] if gguf else []),
                "",
            ]
        )

    def _is_left(self, name: str, default: Any) -> bool:
        """Whether neither the kit nor the tables above try a field."""
        if name in TINY or name in ("rope", "head_dim") or name.endswith(("_id", "_ids")):
            return False
        if isinstance(default, str):
            return "act" not in name
        return not (isinstance(default, bool | int) or (isinstance(default, float) and name.endswith("eps")))


def _gguf_head() -> list[str]:
    return [
        "def gguf_metadata(config: Any) -> dict[str, Any]:",
        '    """The keys of a GGUF file, as llama.cpp\'s converter writes them."""',
    ]


def _table(name: str, lines: list[str]) -> list[str]:
    return [f"{name} = {{", *lines, "}"] if lines else [f"{name}: dict = {{}}"]
