"""Which Keras backend runs: settled once, before Keras is imported, because Keras cannot change it afterwards."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from intermodal.errors import BackendError

BACKENDS = ("jax", "torch", "tensorflow")
"""The backends that intermodal runs on, in the order in which they are tried when nobody chooses."""

VARIABLE = "KERAS_BACKEND"

# Keras writes this file itself when it is first imported, whatever backend it runs on: it says what nobody chose.
_WRITTEN_BY_KERAS = {
    "floatx": "float32",
    "epsilon": 1e-07,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}
_CONFIG_BYTES = 1 << 20


def choose(backend: str | None = None) -> str:
    """Settle the backend: the argument, KERAS_BACKEND, Keras' config file, or the first one that is installed.

    The choice goes into the environment, where Keras looks for it. Call it before the first `import keras`.

    Args:
        backend: `"jax"`, `"torch"`, `"tensorflow"`, or None for no wish.

    Returns:
        The name of the backend that Keras runs on, or will.

    Raises:
        BackendError: an unknown name, a backend that is not installed, or Keras already running on another one.
    """
    chosen = resolve(backend)
    if _running() is None:
        os.environ[VARIABLE] = chosen
    return chosen


def resolve(backend: str | None = None) -> str:
    """What `choose` would settle on, with nothing settled. Args and errors are those of `choose`."""
    wish, origin = backend, "backend="
    if wish is None:
        wish, origin = os.environ.get(VARIABLE) or None, VARIABLE  # Keras too takes an empty variable for an unset one
    _check_name(wish, origin)
    running = _running()
    if running is not None:
        _check_name(running, "Keras is already imported, and its configuration")
        if wish not in (None, running):
            raise BackendError(
                f"{origin} names {wish!r}, but Keras is already imported and runs on {running}. One process has one "
                f"backend: set {VARIABLE}={wish} before anything imports Keras, or call intermodal before that."
            )
        return running
    if wish is None:
        wish, origin = _configured()
        _check_name(wish, origin)
    chosen = wish or next((name for name in BACKENDS if _is_installed(name)), None)
    if chosen is None:
        extras = " or ".join(f'pip install "intermodal[{name}]"' for name in BACKENDS)
        raise BackendError(f"None of Keras' backends is installed. Install one of them: {extras}")
    if not _is_installed(chosen):
        raise BackendError(f'{origin} names {chosen!r}, which is not installed: pip install "intermodal[{chosen}]"')
    return chosen


def _check_name(name: str | None, origin: str) -> None:
    if name is not None and name not in BACKENDS:
        raise BackendError(f"{origin} names {name!r}. intermodal runs on {', '.join(BACKENDS)}.")


def _is_installed(name: str) -> bool:
    return find_spec(name) is not None


def _running() -> str | None:
    keras = sys.modules.get("keras")
    return None if keras is None else keras.config.backend()


def _configured() -> tuple[str | None, str]:
    """What Keras' own config file says, and its path; None where it says nothing, or nothing that a user chose."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = (user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras"
    path = Path(home).expanduser() / "keras.json"
    try:
        with path.open(encoding="utf-8") as file:
            config = json.loads(file.read(_CONFIG_BYTES))
    except (OSError, ValueError):  # Keras passes over a file that it cannot parse, too
        return None, str(path)
    if not isinstance(config, dict) or config == _WRITTEN_BY_KERAS:
        return None, str(path)
    return config.get("backend"), str(path)
