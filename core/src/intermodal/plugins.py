"""Finds the one plugin that handles what is asked for: a model type, a format, a URI scheme, a command, kernels."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from intermodal import catalog, plugin_report, suggestions
from intermodal.catalog import COMMANDS, FAMILIES, FORMATS, KERNELS, SOURCES, Claim
from intermodal.errors import AmbiguousPluginError, MissingPluginError, PluginError
from intermodal.families import Family
from intermodal.registry import LoadedPlugin, Registry, blame, broken

if TYPE_CHECKING:
    import keras

    from intermodal.builtin_commands import Command
    from intermodal.checkpoints.base import CheckpointReader
    from intermodal.compiled import CompiledKernels
    from intermodal.sources.base import Source
    from intermodal.weights.map import WeightMap
    from intermodal.weights.report import LoadReport

_HOOKS = {  # the hook that gives a group's objects, and the attribute of theirs that is the key
    FORMATS: ("intermodal_checkpoint_readers", "format"),
    SOURCES: ("intermodal_sources", "scheme"),
    COMMANDS: ("intermodal_commands", "name"),
    KERNELS: ("intermodal_kernels", "device"),
}


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
        self._registry = Registry()

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
            if not key:
                raise MissingPluginError("The checkpoint does not say its model type. Name one: load(..., family=…)")
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

    def kernels(self, device: str) -> CompiledKernels:
        """The compiled kernels for a kind of device, `"cpu"`."""
        return self._provided(KERNELS, device)

    def commands(self) -> Mapping[str, Claim]:
        """Word → claim of every sub-command that may be used, in order; imports none of them."""
        return {claim.key: claim for claim in catalog.usable(COMMANDS)}

    def build_model(self, loaded: LoadedFamily, **arguments: Any) -> keras.Model:
        """Build the Keras model: the family's own plugin is asked first, then core's default.

        Args:
            loaded: the family.
            arguments: those of the hook `intermodal_build_model`, without `family`.
        """
        return self._registry.ask(
            "intermodal_build_model", loaded.plugin.name, catalog.CORE, family=loaded.family, **arguments
        )

    def weight_map(self, loaded: LoadedFamily, config: Any, task: str) -> WeightMap:
        """The weight map of a config: the family's own plugin is asked first, then `Family.weight_map` is called."""
        owners = loaded.plugin.name, catalog.CORE
        return self._registry.ask("intermodal_weight_map", *owners, family=loaded.family, config=config, task=task)

    def notify_loaded(self, model: keras.Model, report: LoadReport) -> None:
        """Tell every plugin that is loaded of a new model. One that raises gives a warning and stops nothing."""
        for name in self._registry.names():
            try:
                self._registry.ask("intermodal_model_loaded", name, model=model, report=report)
            except Exception as error:
                warnings.warn(f"The plugin {name} failed on the loaded model: {error!r}", RuntimeWarning, stacklevel=2)

    def describe(self, check: bool = False) -> list[dict[str, Any]]:
        """The table of `intermodal plugins`: see `intermodal.plugin_report.rows`."""
        return plugin_report.rows(check)

    def load(self, claim: Claim) -> LoadedPlugin:
        """The plugin behind a claim, imported and registered: see `Registry.load`."""
        return self._registry.load(claim)

    def promised(self, claim: Claim) -> Any:
        """The object that a claim promises: the family, reader, source or command of its key."""
        plugin = self.load(claim)
        if claim.group == FAMILIES:
            return self._pick(plugin, claim.key)
        hook, attribute = _HOOKS[claim.group]
        with blame(claim, f"calling {hook}"):
            items = [item for listed in self._registry.ask(hook, plugin.name) for item in listed]
            named = {getattr(item, attribute): item for item in items}
        if claim.key not in named:
            what = suggestions.asked_for(claim.group, claim.key)
            raise broken(claim, f"it claims {what}, and {hook} gives {sorted(named)}")
        return named[claim.key]

    # --- finding the one ---------------------------------------------------------------------------------------------

    def _provided(self, group: str, key: str) -> Any:
        claims = catalog.find(group, key)
        if not claims:
            raise suggestions.missing(group, key)
        return self.promised(_only(claims))

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
        families = list(plugin.families)
        candidates = (
            [family for family in families if family.name == override],
            [family for family in families if override in family.model_types],
            [family for family in families if key in family.model_types],
            [family for family in families if key.partition(".")[0] in family.dialects],
            families,
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


def _refusal(loaded: LoadedFamily, key: str) -> str:
    return f"{loaded} refuses {key!r}: {loaded.family.refused[key]}"
