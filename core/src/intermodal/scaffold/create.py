"""Writes the plugin of a new family: source like an installed family's, a weight map like a checkpoint's, and tests."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intermodal.checkpoints import open_checkpoint
from intermodal.checkpoints.header import MAX_HEADER_BYTES
from intermodal.checkpoints.strict_json import read_object
from intermodal.errors import CheckpointError, PluginError
from intermodal.output import replaced_folder
from intermodal.plugins import manager
from intermodal.scaffold import config_source, python_source
from intermodal.scaffold.checkpoint_names import Shape
from intermodal.scaffold.known_modules import known_map
from intermodal.scaffold.model_family import DIALECT, ModelFamily, model_family
from intermodal.scaffold.names import Names, check_free, check_name
from intermodal.scaffold.project_files import Project
from intermodal.scaffold.reference import Reference, reference_of
from intermodal.scaffold.shapes import sizes_of
from intermodal.scaffold.weight_source import WeightSource
from intermodal.sources import open_repository
from intermodal.sources.base import Access
from intermodal.unfinished import FILL_IN
from intermodal.weights.map import HUGGINGFACE

INDEX = ".index.json"
_TENSOR = re.compile(r"[\w.\-]{1,500}", re.ASCII)
_MODEL_TYPE = re.compile(r"[A-Za-z][\w-]{0,99}", re.ASCII)
_LEFT = re.compile(rf"\b{python_source.MARK}\(|{FILL_IN}")


@dataclass(frozen=True)
class Headers:
    """What is known of a checkpoint: config.json, and names and shapes of its tensors (None where only names are)."""

    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Shape] = field(default_factory=dict)


def create(name: str, like: str, *, uri: str | None = None, into: str | Path = ".") -> tuple[Path, list[str]]:
    """Write a plugin that installs, and whose tests fail only where it says what is left to be written.

    Args:
        name: of the family, and of the folder that is made.
        like: an installed family whose source it starts from.
        uri: a checkpoint of the new family, of which headers and config.json are read; or the index of one.
        into: the folder to put it into.

    Returns:
        The plugin's folder, and every place that is left to be written, as `file:line: what`.

    Raises:
        PluginError: the name is not possible or taken, or the folder exists.
        IntermodalError: the family or the checkpoint cannot be used.
    """
    check_name(name)
    target = Path(into) / name
    model = model_family(like)
    headers = read_headers(uri) if uri else Headers()
    model_type = str(headers.config.get("model_type") or name)
    if not _MODEL_TYPE.fullmatch(model_type):
        raise PluginError(f"config.json of {uri} has the model_type {model_type[:60]!r}, which no plugin can claim.")
    reference = reference_of(model_type)
    names = Names(name, model_type, reference.stem or _title(name))
    check_free(names, target)
    files = written(names, model, reference, headers)
    with replaced_folder(target) as beside:
        for path, text in files.items():
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).write_text(text, encoding="utf-8")
    ordered = sorted(files, key=lambda path: _order(path, model, names))
    return target, [f"{target / path}:{line}" for path in ordered for line in left(files[path])]


def _order(path: str, model: ModelFamily, names: Names) -> tuple[int, str]:
    """Source in the order of the declaration, then tests, then the rest: the order that an author works in."""
    homes = [f"src/{names.package}/{_home(model, dotted)}.py" for dotted in model.dotted.values()]
    number = homes.index(path) if path in homes else len(homes) if path.startswith("tests/") else len(homes) + 1
    return (-1 if path.endswith("/plugin.py") else number), path


def left(text: str) -> list[str]:
    """`line: what` of every place in a file that is left to be written."""
    return [f"{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if _LEFT.search(line)]


def read_headers(uri: str) -> Headers:
    """Headers and config.json of a checkpoint; of an index without its files, the names.

    Raises:
        IntermodalError: it cannot be opened, or names its tensors otherwise than Hugging Face does.
    """
    repository = open_repository(uri, Access(), manager().source)
    selected = repository.selected or ""
    if selected.endswith(INDEX):
        listed = read_object(repository, selected, limit=MAX_HEADER_BYTES).get("weight_map")
        if not isinstance(listed, dict) or not listed:
            raise CheckpointError(f"{uri} has no weight_map that maps tensor names to files.")
        if not all(repository.has(str(file)) for file in set(listed.values())):
            beside = repository.has("config.json")
            config = read_object(repository, "config.json", limit=MAX_HEADER_BYTES) if beside else {}
            return _checked(uri, Headers(config, dict.fromkeys(listed)))
    checkpoint = open_checkpoint(repository, manager().reader)
    if checkpoint.dialect != HUGGINGFACE:
        raise CheckpointError(
            f"{uri} names its tensors as {checkpoint.dialect} does, and a weight map starts from Hugging Face's names: "
            "give the original's safetensors, or the index of them."
        )
    return _checked(uri, Headers(checkpoint.config, {name: info.shape for name, info in checkpoint.tensors.items()}))


def written(names: Names, model: ModelFamily, reference: Reference, headers: Headers) -> dict[str, str]:
    """Path in the project → text, of every file."""
    config_class = model.renamed(model.family.config.rpartition(":")[2], names)
    modules = {part: model.renamed(text, names) for part, text in model.modules().items()}
    homes = {part: _home(model, dotted) for part, dotted in model.dotted.items()}
    own = {part: name for part, name in homes.items() if name in modules}
    sentences = _sentences(names, reference, gguf=DIALECT in model.family.dialects)
    config = modules[own["config"]]
    cls = model.config_class
    known = (cls.known_keys() | {*dir(cls)}) - (cls.tables()[1].keys() - cls.checks().keys())
    config = config_source.adapted(config, config_class, known, reference, headers.config)
    modules[own["config"]] = config
    if headers.tensors:
        raw = {**headers.config, **_defaults(reference, headers.config)}
        source = WeightSource(names, config_class, headers.tensors, sizes_of(raw), known_map(model))
        modules[own["weight_map"]] = source.text()
    for part, name in own.items():
        sentence, what = sentences.get(part, ("", ""))
        if not sentence:
            continue
        modules[name] = python_source.with_docstring(modules[name], sentence)
        if part in ("config", "backbone"):
            owner = model.renamed(model.dotted[part].rpartition(":")[2], names)
            about = f"Config of {names.stem}." if part == "config" else f"Hidden states of {names.stem}."
            modules[name] = python_source.with_docstring(modules[name], about, owner)
        modules[name] = python_source.with_mark(modules[name], _marked(model, part, config_class, names), what)
    fields = _fields(modules[own["config"]], config_class)
    about = {name: _first(text) for name, text in sorted(modules.items())}
    files = Project(names, model, reference, fields, about).files()
    return files | {f"src/{names.package}/{name}.py": text for name, text in modules.items()}


def _sentences(names: Names, reference: Reference, *, gguf: bool) -> dict[str, tuple[str, str]]:
    """Part of a family → docstring of its module, and what its author has to do there."""
    stem, module = names.stem, names.model_type.replace("-", "_")
    theirs = reference.config_class or f"{stem}Config"
    kept = "Hugging Face's names, and llama.cpp's for GGUF." if gguf else "Hugging Face's names."
    return {
        "config": (
            f"{stem}'s config: the fields of transformers' {theirs}.",
            f"compare fields, defaults and limits with transformers' configuration_{module}.py",
        ),
        "weight_map": (
            f"Where {stem} checkpoints keep their weights: {kept}",
            "compare names, shapes and biases with a checkpoint, and the heads with transformers'",
        ),
        "backbone": (
            f"{stem}'s forward pass.",
            f"compare with transformers' modeling_{module}.py, from the embedding to the last norm",
        ),
        f"dialects.{DIALECT}": (
            "A GGUF file's metadata as the config.json of the same model.",
            "compare each key with llama.cpp's converter",
        ),
    }


def _marked(model: ModelFamily, part: str, config_class: str, names: Names) -> str:
    """The function that carries the mark of a part."""
    if part == "config":
        return f"{config_class}.resolve"
    name = model.renamed(model.dotted[part].rpartition(":")[2], names)
    return f"{name}.forward" if part == "backbone" else name


def _home(model: ModelFamily, dotted: str) -> str:
    return dotted.partition(":")[0].removeprefix(f"{model.package}.").replace(".", "/")


def _defaults(reference: Reference, raw: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' defaults of sizes that a config.json leaves out."""
    return {
        name: default for name, (_, default) in reference.fields.items() if name not in raw and type(default) is int
    }


def _fields(text: str, owner: str) -> dict[str, Any]:
    """Field → default of a config class, as its text declares them; None where the default is no literal."""
    node = next(i for i in ast.parse(text).body if isinstance(i, ast.ClassDef) and i.name == owner)
    found: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.annotation).startswith("ClassVar"):
            first = item.value.args[:1] if isinstance(item.value, ast.Call) else [item.value]
            is_constant = bool(first) and isinstance(first[0], ast.Constant)
            is_size = isinstance(item.value, ast.Call) and ast.unparse(item.value.func) == "fields.size"
            found[ast.unparse(item.target)] = first[0].value if is_constant else 1 if is_size else None  # pyright: ignore
    return found


def _first(text: str) -> str:
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return " ".join(docstring.split("\n\n")[0].split()).rstrip(".")


def _checked(uri: str, headers: Headers) -> Headers:
    odd = next((name for name in headers.tensors if not _TENSOR.fullmatch(name)), None)
    if odd is not None:
        raise CheckpointError(
            f"{uri} has a tensor named {odd[:80]!r}; only letters, digits, dots and dashes can be mapped."
        )
    return dataclasses.replace(headers)


def _title(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))
