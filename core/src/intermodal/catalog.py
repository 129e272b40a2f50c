"""Who claims what: reads the entry points of installed plugins, and imports none of them.

A plugin states its claims in its own metadata, in one of five groups, keyed by what is asked for:

    [project.entry-points."intermodal.families"]
    some_model_type = "intermodal_some.plugin"

so that one look-up finds the one module to import. The state of a claim (installed, blocked, incompatible or
conflicting) follows from metadata and the environment alone.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from intermodal.builtin_commands import BUILTIN

FAMILIES = "intermodal.families"
FORMATS = "intermodal.formats"
SOURCES = "intermodal.sources"
COMMANDS = "intermodal.commands"
KERNELS = "intermodal.kernels"
GROUPS = (FAMILIES, FORMATS, SOURCES, COMMANDS, KERNELS)

CORE = "intermodal"
"""Name of the distribution whose own claims are in `_CORE_KEYS`."""

ALLOW_LIST = "INTERMODAL_PLUGINS"
"""Environment variable: `a,b` admits only these plugins, `-a` keeps one out, an empty value keeps all out."""

_CORE_KEYS = {
    FORMATS: ("safetensors",),
    SOURCES: ("file", "hf", "pkg"),
    COMMANDS: tuple(command.name for command in BUILTIN),
}
_SECTION = re.compile(r"^\s*\[\s*(" + "|".join(map(re.escape, GROUPS)) + r")\s*\]", re.MULTILINE)
_ON_CORE = re.compile(r"\s*intermodal\s*(?=$|[\s(<>=!~;@\[])", re.IGNORECASE)

Status = Literal["installed", "blocked", "incompatible", "conflicting"]


@dataclass(frozen=True)
class Claim:
    """One entry point: a distribution says that it handles `key`.

    Attributes:
        group: one of `GROUPS`.
        key: `model_type`, file suffix, URI scheme, command word or kind of device.
        value: the module to import, `package.plugin`.
        dist: name of the distribution, as it spells it.
        version: the distribution's version.
        requires: its `Requires-Dist` lines on intermodal itself.
    """

    group: str
    key: str
    value: str
    dist: str
    version: str
    requires: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.dist} {self.version}"


def normalize(name: str) -> str:
    """A distribution's name as packaging tools compare it: `Intermodal_Foo` is `intermodal-foo`."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def is_named(dist: str, name: str) -> bool:
    """Whether `name` means the distribution `dist`, with or without the prefix `intermodal-`."""
    return normalize(dist) in (normalize(name), f"{CORE}-{normalize(name)}")


@functools.cache
def running_version() -> str:
    """Version of the intermodal that is running; `0+unknown` where it was put on the path without installing it."""
    try:
        return metadata.version(CORE)
    except metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def claims() -> tuple[Claim, ...]:
    """Every claim of every installed distribution, and core's own, by group and key. Read once: see `refresh`."""
    found = [
        Claim(group, key, "intermodal.builtin", CORE, running_version())
        for group, keys in _CORE_KEYS.items()
        for key in keys
    ]
    seen = {CORE}
    for distribution in metadata.distributions():
        text = distribution.read_text("entry_points.txt")
        if not text or not _SECTION.search(text):  # the metadata proper is slow to parse: only where it is ours
            continue
        try:
            dist, read = _read(distribution, text)
        except Exception as error:  # a damaged installation takes itself out of the list, and nobody else
            where = distribution.locate_file("")
            warnings.warn(f"A plugin in {where} has damaged metadata ({error!r}); reinstall it: {text}", stacklevel=2)
            continue
        if dist not in seen:
            seen.add(dist)
            found += read
    return tuple(sorted(found, key=lambda claim: (GROUPS.index(claim.group), claim.key, normalize(claim.dist))))


def _read(distribution: metadata.Distribution, entry_points: str) -> tuple[str, list[Claim]]:
    """The normalized name and the claims of one distribution; none of a copy that another one on sys.path hides."""
    about = distribution.metadata
    name, version = about["Name"], about["Version"]
    if not name or not version:
        raise ValueError("it has no name or no version")
    if metadata.distribution(name).read_text("entry_points.txt") != entry_points:
        return normalize(name), []
    requires = about.get_all("Requires-Dist") or distribution.requires or ()  # the latter reads egg-info too
    on_core = tuple(line for line in requires if _ON_CORE.match(line))
    return normalize(name), [
        Claim(entry.group, entry.name, entry.value, name, version, on_core)
        for entry in distribution.entry_points
        if entry.group in GROUPS
    ]


def refresh() -> None:
    """Forget what was read: call it after installing a plugin into a running process."""
    claims.cache_clear()
    running_version.cache_clear()


def find(group: str, key: str) -> list[Claim]:
    """All claims on `key`, whatever their status."""
    return [claim for claim in claims() if claim.group == group and claim.key == key]


def usable(group: str, key: str | None = None) -> list[Claim]:
    """The claims that may be loaded: neither blocked nor incompatible. Several on one key are a conflict."""
    return [
        claim
        for claim in claims()
        if claim.group == group
        and (key is None or claim.key == key)
        and not is_blocked(claim.dist)
        and is_compatible(claim)
    ]


def status(claim: Claim) -> Status:
    """What can be said of a claim without importing its plugin."""
    if is_blocked(claim.dist):
        return "blocked"
    if not is_compatible(claim):
        return "incompatible"
    return "conflicting" if rivals(claim) else "installed"


def rivals(claim: Claim) -> list[Claim]:
    """Other distributions' usable claims on the same key."""
    return [other for other in usable(claim.group, claim.key) if normalize(other.dist) != normalize(claim.dist)]


def is_blocked(dist: str) -> bool:
    """Whether the environment variable INTERMODAL_PLUGINS keeps a distribution out. Core's own parts always stay."""
    listed = os.environ.get(ALLOW_LIST)
    if listed is None or normalize(dist) == CORE:
        return False
    names = [name.strip() for name in listed.split(",") if name.strip()]
    admitted = [name for name in names if not name.startswith("-")]
    if any(is_named(dist, name.removeprefix("-")) for name in names if name.startswith("-")):
        return True
    only_blocks = bool(names) and not admitted
    return not only_blocks and not any(is_named(dist, name) for name in admitted)


def unknown_in_allow_list() -> list[str]:
    """Names in INTERMODAL_PLUGINS that no installed plugin has: most often a slip of the pen."""
    dists = {claim.dist for claim in claims()}
    names = [name.strip().removeprefix("-") for name in os.environ.get(ALLOW_LIST, "").split(",") if name.strip()]
    return [name for name in names if not any(is_named(dist, name) for dist in dists)]


def is_compatible(claim: Claim) -> bool:
    """Whether the plugin's own requirement on intermodal admits the version that is running."""
    return all(_admits(line, running_version()) for line in claim.requires)


@functools.cache
def _admits(requirement: str, version: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement  # 20 ms, and not needed for --help

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return False
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return True
    return parsed.specifier.contains(version, prereleases=True)
