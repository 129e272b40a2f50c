"""Every error that intermodal raises on purpose. Each message names what was found, what was expected, and the fix."""

from __future__ import annotations

from typing import Any


class IntermodalError(Exception):
    """Base of all errors below: catch this to catch everything that intermodal refuses."""


# --- where files come from -------------------------------------------------------------------------------------------


class SourceError(IntermodalError):
    """A URI cannot be read: unknown scheme, missing, private, gated, offline or interrupted."""


# --- what is in the files --------------------------------------------------------------------------------------------


class CheckpointError(IntermodalError):
    """A checkpoint's files are malformed, incomplete or contradict each other."""


class UnsafeCheckpointError(CheckpointError):
    """Only weights that execute code when read (pickle) are there; they are never opened."""


# --- plugins ---------------------------------------------------------------------------------------------------------


class PluginError(IntermodalError):
    """A plugin cannot be used."""


class MissingPluginError(PluginError):
    """No installed plugin handles what was asked for."""


class BlockedPluginError(PluginError):
    """The plugin is installed, but INTERMODAL_PLUGINS keeps it out."""


class IncompatiblePluginError(PluginError):
    """The plugin was written for another version of intermodal."""


class BrokenPluginError(PluginError):
    """The plugin raised an error when it was imported or registered."""


class AmbiguousPluginError(PluginError):
    """Two installed plugins claim the same key."""


class UnfinishedError(PluginError):
    """A plugin has come to a place that its author has still to write."""


# --- configuration ---------------------------------------------------------------------------------------------------


class ConfigError(IntermodalError):
    """A config key has a value that is malformed, or that the builder cannot honour.

    Attributes:
        problems: one for each key, where the config was read as a whole: `intermodal.config.Problem`.
    """

    problems: tuple[Any, ...] = ()


class BackendError(IntermodalError):
    """No Keras backend is installed, or Keras already runs on another one."""


# --- weights ---------------------------------------------------------------------------------------------------------


class WeightError(IntermodalError):
    """Tensors are missing, unexpected, or of another shape or dtype than the config says."""


# --- text ------------------------------------------------------------------------------------------------------------


class TokenizerError(IntermodalError):
    """A tokenizer cannot be built, or was asked for what it lacks (a chat template, a padding token)."""


class ChatTemplateError(TokenizerError):
    """A chat template is malformed, tries to escape its sandbox, or does not end."""


class GenerationError(IntermodalError):
    """The arguments of generate() contradict each other, or ask for more than the context holds."""


class InputError(IntermodalError, ValueError):
    """What a model was called with does not fit it: a sequence that is too long, an id beyond its table."""


class TaskError(IntermodalError):
    """The checkpoint does not hold the task that was asked for."""
