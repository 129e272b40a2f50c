"""Classes that a program registers with an auto class itself. They go before those of installed plugins."""

from __future__ import annotations

from typing import Any

from intermodal.errors import PluginError


class Registered:
    """Key → class, for one auto class.

    Args:
        auto: name of the auto class, for messages.
    """

    def __init__(self, auto: str) -> None:
        self._auto = auto
        self._classes: dict[Any, Any] = {}

    def add(self, key: Any, value: Any, exist_ok: bool) -> None:
        """Register a class under a key.

        Raises:
            PluginError: there is one already, and `exist_ok` is false.
        """
        if key in self._classes and not exist_ok:
            raise PluginError(
                f"{self._auto} has {self._classes[key].__name__} for {_name(key)}; exist_ok=True replaces it."
            )
        self._classes[key] = value

    def get(self, key: Any) -> Any:
        """The class of a key, or None."""
        return self._classes.get(key)

    def __bool__(self) -> bool:
        return bool(self._classes)


def _name(key: Any) -> str:
    return key if isinstance(key, str) else key.__name__


class NeverMade:
    """Base of the auto classes, which are never instantiated."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError(f"{type(self).__name__} is not instantiated: call {type(self).__name__}.from_pretrained(…).")
