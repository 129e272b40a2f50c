"""Loads the one plugin that is asked for, keeps its failures to itself, and puts the hooks' questions to it."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pluggy

from intermodal import builtin, catalog, hookspecs, plugin_report, suggestions
from intermodal.catalog import COMMANDS, FAMILIES, FORMATS, SOURCES, Claim
from intermodal.errors import (
    AmbiguousPluginError,
    BrokenPluginError,
    IncompatiblePluginError,
    MissingPluginError,
    PluginError,
)
from intermodal.families import API_VERSION, Family

if TYPE_CHECKING:
    import keras

    from intermodal.checkpoints.base import CheckpointReader
    from intermodal.commands import Command
    from intermodal.sources.base import Source
    from intermodal.weights.map import WeightMap
    from intermodal.weights.report import LoadReport

_HOOKS = {  # the hook that gives a group's objects, and the attribute of theirs that is the key
    FORMATS: ("intermodal_checkpoint_readers", "format"),
    SOURCES: ("intermodal_sources", "scheme"),
    COMMANDS: ("intermodal_commands", "name"),
}


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


@dataclass(frozen=True)
class LoadedFamily:
    """A family and the plugin that it comes from; its string form goes into reports."""

    family: Family
    plugin: LoadedPlugin

    def __str__(self) -> str:
        return f"{self.family.name} of {self.plugin}"


class Plugins:
    """The plugins of this process. A module is imported when one of its claims is first asked for, never before."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(builtin, name=catalog.CORE)
        core = LoadedPlugin(catalog.CORE, catalog.running_version())
        self._outcomes: dict[str, LoadedPlugin | PluginError] = {catalog.CORE: core}
        self._lock = threading.RLock()

    # --- what is asked for -------------------------------------------------------------------------------------------

    def family(self, key: str, *, override: str | None = None) -> LoadedFamily:
        """The family that reads a checkpoint.

        Args:
            key: the checkpoint's `family_key`: config.json's `model_type`, or `gguf.<arch>`.
            override: the user's own choice: a family's name, a distribution (with or without `intermodal-`), or a
                model type.

        Raises:
            PluginError: missing, blocked, incompatible, broken or doubly claimed; each says what to do.
        """
        if override is None:
            claims = catalog.find(FAMILIES, key)
            if not claims:
                raise suggestions.missing(FAMILIES, key, self._refusals(key))
            loaded = self.promised(_only(claims))
        else:
            loaded = self._overridden(override, key)
        if key in loaded.family.refused:
            raise MissingPluginError(_refusal(loaded, key))
        return loaded

    def reader(self, suffix: str) -> CheckpointReader:
        """The reader of a checkpoint format, by the suffix of its files without the dot."""
        return self._provided(FORMATS, suffix)

    def source(self, scheme: str) -> Source:
        """The source of a URI scheme."""
        return self._provided(SOURCES, scheme)

    def command(self, word: str) -> Command:
        """The sub-command of that name."""
        return self._provided(COMMANDS, word)

    def commands(self) -> Mapping[str, Claim]:
        """Word → claim of every sub-command that may be used, in order; imports none of them."""
        return {claim.key: claim for claim in catalog.usable(COMMANDS)}

    def build_model(self, loaded: LoadedFamily, **arguments: Any) -> keras.Model:
        """Build the Keras model: the family's own plugin is asked first, then core's default.

        Args:
            loaded: the family.
            arguments: those of the hook `intermodal_build_model`, without `family`.
        """
        return self._ask("intermodal_build_model", loaded.plugin.name, catalog.CORE, family=loaded.family, **arguments)

    def weight_map(self, loaded: LoadedFamily, config: Any, task: str) -> WeightMap:
        """The weight map of a config: the family's own plugin is asked first, then `Family.weight_map` is called."""
        owners = loaded.plugin.name, catalog.CORE
        return self._ask("intermodal_weight_map", *owners, family=loaded.family, config=config, task=task)

    def notify_loaded(self, model: keras.Model, report: LoadReport) -> None:
        """Tell every plugin that is loaded of a new model. One that raises gives a warning and stops nothing."""
        for name, _ in self._manager.list_name_plugin():
            try:
                self._ask("intermodal_model_loaded", name, model=model, report=report)
            except Exception as error:
                warnings.warn(f"The plugin {name} failed on the loaded model: {error!r}", RuntimeWarning, stacklevel=2)

    def describe(self, check: bool = False) -> list[dict[str, Any]]:
        """The table of `intermodal plugins`: see `intermodal.plugin_report.rows`."""
        return plugin_report.rows(check)

    # --- loading -----------------------------------------------------------------------------------------------------

    def load(self, claim: Claim) -> LoadedPlugin:
        """Import and register the plugin behind a claim, once; a failure is remembered too.

        Raises:
            BlockedPluginError, IncompatiblePluginError: before anything of it is imported.
            BrokenPluginError: importing or registering it raised; that error is the cause.
        """
        if catalog.is_blocked(claim.dist) or not catalog.is_compatible(claim):
            raise suggestions.unusable(claim)
        at = catalog.normalize(claim.dist)
        with self._lock:
            if at not in self._outcomes:
                try:
                    self._outcomes[at] = self._load(claim)
                except PluginError as error:
                    self._outcomes[at] = error
            outcome = self._outcomes[at]
        if isinstance(outcome, PluginError):
            raise outcome.with_traceback(None)  # its cause keeps the plugin's own traceback
        return outcome

    def _load(self, claim: Claim) -> LoadedPlugin:
        modules = {other.value for other in catalog.claims() if other.dist == claim.dist}
        if len(modules) > 1:
            raise _broken(claim, f"its entry points name several modules ({', '.join(sorted(modules))}), not one")
        try:
            with _blame(claim, f"importing {claim.value}"):
                module = metadata.EntryPoint(claim.key, claim.value, claim.group).load()
            with _blame(claim, "registering its hooks"):
                self._manager.register(module, name=claim.dist)
                self._manager.check_pending()
            return LoadedPlugin(claim.dist, claim.version, self._families(claim))
        except PluginError:
            if self._manager.has_plugin(claim.dist):
                self._manager.unregister(name=claim.dist)
            raise

    def _families(self, claim: Claim) -> tuple[Family, ...]:
        """The families a plugin declares, checked against the contract's version and its own entry points."""
        with _blame(claim, "declaring its families"):
            families = tuple(item for listed in self._ask("intermodal_families", claim.dist) for item in listed)
        keys = {other.key for other in catalog.claims() if other.group == FAMILIES and other.dist == claim.dist}
        model_types: set[str] = set()
        for family in families:
            if not isinstance(family, Family):
                raise _broken(claim, f"intermodal_families gave {family!r}, not a Family")
            _check_api(claim, family)
            model_types |= set(family.model_types)
        dialects = tuple(f"{dialect}." for family in families for dialect in family.dialects)
        unstated = {key for key in keys - model_types if not key.startswith(dialects)}
        if unstated or model_types - keys:
            raise _broken(
                claim,
                f"its entry points in {FAMILIES} name {sorted(keys)}, and its families name {sorted(model_types)}",
            )
        return families

    # --- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, hook: str, *names: str, **arguments: Any) -> Any:
        """Call a hook of these registered plugins only; results as the hook's specification says."""
        others = [plugin for name, plugin in self._manager.list_name_plugin() if name not in names]
        return self._manager.subset_hook_caller(hook, others)(**arguments)

    def _provided(self, group: str, key: str) -> Any:
        claims = catalog.find(group, key)
        if not claims:
            raise suggestions.missing(group, key)
        return self.promised(_only(claims))

    def promised(self, claim: Claim) -> Any:
        """The object that a claim promises: the family, reader, source or command of its key."""
        plugin = self.load(claim)
        if claim.group == FAMILIES:
            return self._pick(plugin, claim.key)
        hook, attribute = _HOOKS[claim.group]
        with _blame(claim, f"calling {hook}"):
            items = [item for listed in self._ask(hook, plugin.name) for item in listed]
            named = {getattr(item, attribute): item for item in items}
        if claim.key not in named:
            what = suggestions.asked_for(claim.group, claim.key)
            raise _broken(claim, f"it claims {what}, and {hook} gives {sorted(named)}")
        return named[claim.key]

    def _overridden(self, name: str, key: str) -> LoadedFamily:
        """The family a user named: by distribution or model type, else by what the installed families are called."""
        claims = [claim for claim in catalog.claims() if claim.group == FAMILIES]
        named = [claim for claim in claims if catalog.normalize(claim.dist) == catalog.normalize(name)]
        named = named or [claim for claim in claims if catalog.is_named(claim.dist, name) or claim.key == name]
        if named:
            return self._pick(self.load(_only(named)), key, name)
        called = {
            claim.dist: claim
            for claim, plugin in self._loadable_families()
            if any(family.name == name for family in plugin.families)
        }
        if not called:
            raise suggestions.missing(FAMILIES, name)
        return self._pick(self.load(_only(list(called.values()))), key, name)

    def _pick(self, plugin: LoadedPlugin, key: str, override: str | None = None) -> LoadedFamily:
        families = plugin.families
        candidates = (
            [family for family in families if family.name == override],
            [family for family in families if override in family.model_types],
            [family for family in families if key in family.model_types],
            [family for family in families if key.partition(".")[0] in family.dialects],
            list(families),
        )
        chosen = next(found for found in candidates if found)
        if len(chosen) > 1:
            names = ", ".join(family.name for family in chosen)
            raise AmbiguousPluginError(
                f"{plugin} has several families for {key!r}: {names}. Name one: load(..., family={chosen[0].name!r})"
            )
        return LoadedFamily(chosen[0], plugin)

    def _loadable_families(self) -> Iterator[tuple[Claim, LoadedPlugin]]:
        """Every family plugin that can be loaded; the others are passed over, for nobody asked for them."""
        for claim in {claim.dist: claim for claim in catalog.usable(FAMILIES)}.values():
            with contextlib.suppress(PluginError):
                yield claim, self.load(claim)

    def _refusals(self, key: str) -> Iterator[str]:
        for _, plugin in self._loadable_families():
            for family in plugin.families:
                if key in family.refused:
                    yield _refusal(LoadedFamily(family, plugin), key)


@functools.cache
def manager() -> Plugins:
    """The plugins of this process."""
    return Plugins()


def reset() -> None:
    """Forget what is installed and loaded: after installing a plugin into a running process, and between tests."""
    catalog.refresh()
    manager.cache_clear()


def _only(claims: list[Claim]) -> Claim:
    """The one claim that may be used, of claims on one thing; a plugin's several keys count once."""
    usable = {
        claim.dist: claim for claim in claims if not catalog.is_blocked(claim.dist) and catalog.is_compatible(claim)
    }
    if not usable:
        raise suggestions.unusable(claims[0])
    if len(usable) > 1:
        raise suggestions.ambiguous(list(usable.values()))
    return next(iter(usable.values()))


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


def _refusal(loaded: LoadedFamily, key: str) -> str:
    return f"{loaded} refuses {key!r}: {loaded.family.refused[key]}"


def _broken(claim: Claim, reason: str) -> BrokenPluginError:
    return BrokenPluginError(
        f"The plugin {claim} cannot be used: {reason}. Upgrade it (pip install --upgrade {claim.dist}) or remove it "
        f"(pip uninstall {claim.dist})."
    )


@contextlib.contextmanager
def _blame(claim: Claim, doing: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _broken(claim, f"{doing} raised {type(error).__name__}: {error}") from error
