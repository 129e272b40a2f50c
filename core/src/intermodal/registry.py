"""Imports and registers one plugin at a time, checks what it declares, and puts the hooks' questions to it."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pluggy

from intermodal import builtin, catalog, hookspecs, suggestions
from intermodal.catalog import FAMILIES, Claim
from intermodal.errors import BrokenPluginError, IncompatiblePluginError, PluginError
from intermodal.families import API_VERSION, Family


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that is imported and registered.

    Attributes:
        name: its distribution.
        version: the distribution's version.
        families: the model families it declares.
    """

    name: str
    version: str
    families: tuple[Family, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Registry:
    """The plugins that are loaded, each under its distribution's name, and the failures of those that could not be."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(builtin, name=catalog.CORE)
        core = LoadedPlugin(catalog.CORE, catalog.running_version())
        self._outcomes: dict[str, LoadedPlugin | PluginError] = {catalog.CORE: core}
        self._lock = threading.RLock()

    def names(self) -> list[str]:
        """Distributions whose plugins are loaded."""
        return [name for name, _ in self._manager.list_name_plugin()]

    def ask(self, hook: str, *names: str, **arguments: Any) -> Any:
        """Call a hook of these plugins only; results as the hook's specification says."""
        others = [plugin for name, plugin in self._manager.list_name_plugin() if name not in names]
        return self._manager.subset_hook_caller(hook, others)(**arguments)

    def load(self, claim: Claim) -> LoadedPlugin:
        """Import and register the plugin behind a claim, once; a failure is remembered too.

        Raises:
            BlockedPluginError, IncompatiblePluginError: before anything of it is imported.
            BrokenPluginError: importing or registering it raised; that error is the cause.
        """
        if catalog.is_blocked(claim.dist) or not catalog.is_compatible(claim):
            raise suggestions.unusable(claim)
        with self._lock:
            if claim.dist not in self._outcomes:
                try:
                    self._outcomes[claim.dist] = self._load(claim)
                except PluginError as error:
                    self._outcomes[claim.dist] = error
            outcome = self._outcomes[claim.dist]
        if isinstance(outcome, PluginError):
            raise outcome.with_traceback(None)  # its cause keeps the plugin's own traceback
        return outcome

    def _load(self, claim: Claim) -> LoadedPlugin:
        modules = {other.value for other in catalog.claims() if other.dist == claim.dist}
        if len(modules) > 1:
            raise broken(claim, f"its entry points name several modules ({', '.join(sorted(modules))}), not one")
        try:
            with blame(claim, f"importing {claim.value}"):
                module = metadata.EntryPoint(claim.key, claim.value, claim.group).load()
            with blame(claim, "registering its hooks"):
                self._manager.register(module, name=claim.dist)
                self._manager.check_pending()
            return LoadedPlugin(claim.dist, claim.version, self._families(claim))
        except PluginError:
            if self._manager.has_plugin(claim.dist):
                self._manager.unregister(name=claim.dist)
            raise

    def _families(self, claim: Claim) -> tuple[Family, ...]:
        """The families a plugin declares, checked against the contract's version and its own entry points."""
        with blame(claim, "declaring its families"):
            families = tuple(item for listed in self.ask("intermodal_families", claim.dist) for item in listed)
        model_types: set[str] = set()
        for family in families:
            if not isinstance(family, Family):
                raise broken(claim, f"intermodal_families gave {family!r}, not a Family")
            _check_api(claim, family)
            model_types |= set(family.model_types)
        keys = {other.key for other in catalog.claims() if other.group == FAMILIES and other.dist == claim.dist}
        dialects = tuple(f"{dialect}." for family in families for dialect in family.dialects)
        undeclared = {key for key in keys - model_types if not key.startswith(dialects)}
        if undeclared or model_types - keys:
            raise broken(
                claim,
                f"its entry points in {FAMILIES} name {sorted(keys)}, and its families name {sorted(model_types)}",
            )
        return families


def _check_api(claim: Claim, family: Family) -> None:
    """The contract of this version and of the one before it are honoured."""
    if family.api not in (API_VERSION, API_VERSION - 1):
        fix = f"pip install --upgrade {claim.dist if family.api < API_VERSION else catalog.CORE}"
        raise IncompatiblePluginError(
            f"{claim} was written for version {family.api} of intermodal's plugin API; this intermodal "
            f"({catalog.running_version()}) has version {API_VERSION}. Try: {fix}"
        )
    if family.api < API_VERSION:
        warnings.warn(
            f"{claim} uses version {family.api} of intermodal's plugin API, which the next version drops.",
            DeprecationWarning,
            stacklevel=2,
        )


def broken(claim: Claim, reason: str) -> BrokenPluginError:
    """The error for a plugin that cannot be used, for a reason of its own."""
    return BrokenPluginError(
        f"The plugin {claim} cannot be used: {reason}. Upgrade it (pip install --upgrade {claim.dist}) or remove it "
        f"(pip uninstall {claim.dist})."
    )


@contextlib.contextmanager
def blame(claim: Claim, doing: str) -> Iterator[None]:
    """Whatever is raised in the block becomes the error of this claim's plugin."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise broken(claim, f"{doing} raised {type(error).__name__}: {error}") from error
