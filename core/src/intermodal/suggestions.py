"""What to tell someone whose plugin is missing, blocked, incompatible or doubly claimed: one message each."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import resources

from intermodal import catalog
from intermodal.catalog import ALLOW_LIST, Claim
from intermodal.errors import (
    AmbiguousPluginError,
    BlockedPluginError,
    IncompatiblePluginError,
    MissingPluginError,
    PluginError,
)

_ASKED_FOR = {
    catalog.FAMILIES: "model type",
    catalog.FORMATS: "checkpoint format",
    catalog.SOURCES: "URI scheme",
    catalog.COMMANDS: "command",
    catalog.KERNELS: "kernels for device",
}


def asked_for(group: str, key: str) -> str:
    """How a message names what was looked up: `model type 'some_type'`."""
    return f"{_ASKED_FOR[group]} {key!r}"


@functools.cache
def known(group: str) -> Mapping[str, str]:
    """Key → distribution of the reviewed table `known_families.toml`."""
    import tomllib

    text = resources.files("intermodal").joinpath("known_families.toml").read_text(encoding="utf-8")
    return tomllib.loads(text).get(group.rpartition(".")[2], {})


def missing(group: str, key: str, refusals: Iterable[str] = ()) -> MissingPluginError:
    """No installed plugin claims the key.

    Args:
        group: the group that was looked in.
        key: the key that no claim has.
        refusals: what installed plugins say of the key themselves; that is the whole answer where there is one.
    """
    said = list(refusals)
    message = f"No installed plugin handles {asked_for(group, key)}."
    dist = known(group).get(key)
    if said:
        return MissingPluginError(" ".join([message, *said]))
    if dist is not None:
        return MissingPluginError(f"{message} It is provided by: pip install {dist}")

    import difflib

    providers = {**known(group), **{claim.key: claim.dist for claim in catalog.claims() if claim.group == group}}
    near = difflib.get_close_matches(key, providers, n=3)
    if near:
        message += " The nearest names are " + ", ".join(f"{name!r} ({providers[name]})" for name in near) + "."
    elif providers:
        message += " Known are " + ", ".join(repr(name) for name in sorted(providers)) + "."
    return MissingPluginError(f"{message} `intermodal plugins` lists what is installed.")


def unusable(claim: Claim) -> PluginError:
    """A claim exists, but INTERMODAL_PLUGINS or the plugin's own requirements rule it out."""
    what = asked_for(claim.group, claim.key)
    if catalog.is_blocked(claim.dist):
        message = f"{claim} handles {what}, but {ALLOW_LIST} keeps it out. Add {claim.dist} to it, or unset it."
        strangers = catalog.unknown_in_allow_list()
        if strangers:
            message += f" It names {', '.join(strangers)}, which no installed plugin is called."
        return BlockedPluginError(message)
    return IncompatiblePluginError(
        f"{claim} handles {what}, but was written for {', '.join(claim.requires)}, and intermodal "
        f"{catalog.running_version()} is running. Install a version of both that fits: "
        f"pip install --upgrade intermodal {claim.dist}"
    )


def ambiguous(claims: list[Claim]) -> AmbiguousPluginError:
    """Several usable claims on one key: none is picked in silence."""
    first = claims[0]
    names = [claim.dist for claim in claims]
    ways = [
        f"set {ALLOW_LIST}=-{names[-1]} to keep one out",
        f"pip uninstall {names[-1]}",
    ]
    if first.group == catalog.FAMILIES:
        ways.insert(0, f'name it: load(..., family="{names[0]}")')
    return AmbiguousPluginError(
        f"{len(claims)} installed plugins claim {asked_for(first.group, first.key)}: "
        f"{' and '.join(map(str, claims))}. Choose one of them: {'; or '.join(ways)}."
    )
