"""The argument `quantization_config`: what transformers' configs ask for, and whether it is done here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intermodal.errors import TaskError

INT8, INT4 = "int8", "int4"
_INSTEAD = (
    f"To store weights in 8 or 4 bits: quantization_config={INT8!r} or {INT4!r}. Block-quantised GGUF files are read "
    "as they are (gguf_file=…)"
)
# How those libraries compute, and which 4 bits they take; here activations stay floats, and the bits are `quantize`'s.
_ABOUT_COMPUTING = (
    *("llm_int8_threshold", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"),
    "bnb_4bit_quant_storage",
)


def quantization_mode(config: Any) -> str | None:
    """The mode of `model.quantize` that a config comes to, or None where there is no config.

    Args:
        config: `"int8"` or `"int4"`, or what transformers takes: a `BitsAndBytesConfig` that loads in 8 or 4 bits, a
            `QuantoConfig` with weights in int8 or int4, or a dict with their keys.

    Raises:
        TaskError: it asks for something else; the message names the method, and what to do instead.
    """
    if config is None or config in (INT8, INT4):
        return config
    if isinstance(config, str):
        raise TaskError(f"quantization_config={config!r} is not done here. {_INSTEAD}.")
    keys = _keys(config)
    method = str(keys.pop("quant_method", None) or _guessed(keys))
    given = {name: value for name, value in keys.items() if value not in (None, False, [], {}) and name[0] != "_"}
    mode = None
    if method.startswith("bitsandbytes"):
        mode = INT8 if given.pop("load_in_8bit", False) else INT4 if given.pop("load_in_4bit", False) else None
        given = {name: value for name, value in given.items() if name not in _ABOUT_COMPUTING}
    elif method == "quanto" and given.get("weights") in (INT8, INT4):
        mode = given.pop("weights")
    if mode is None:
        raise TaskError(f"quantization_config asks for {method}, and weights are not stored so. {_INSTEAD}.")
    if given:
        raise TaskError(
            f"quantization_config has {', '.join(sorted(given))}: every linear and embedding is stored in {mode}, and "
            f"nothing else can be chosen. Leave that out, or pass quantization_config={mode!r}."
        )
    return mode


def _keys(config: Any) -> dict[str, Any]:
    """The keys of a config: of a dict, or of an object as transformers has them."""
    if isinstance(config, Mapping):
        return dict(config)
    written = getattr(config, "to_dict", None)
    if written is None:
        raise TaskError(
            f"quantization_config is a {type(config).__name__}; expected {INT8!r}, {INT4!r}, a dict or a config."
        )
    keys = dict(written())
    return {**keys, "quant_method": getattr(keys.get("quant_method"), "value", keys.get("quant_method"))}


def _guessed(keys: Mapping[str, Any]) -> str:
    """The method of a dict that does not name it; transformers tells bitsandbytes so."""
    return "bitsandbytes" if {"load_in_8bit", "load_in_4bit"} & keys.keys() else "a method without a name"
