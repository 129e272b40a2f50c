"""The argument `quantization_config`: what transformers' configs ask for, and whether it is done here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intermodal.errors import TaskError

INT8 = "int8"
_INSTEAD = (
    f"To store weights in 8 bits with one scale a row: quantization_config={INT8!r}. Block-quantised GGUF files are "
    "read as they are (gguf_file=…)"
)
# What says how the libraries compute, and not what the weights become; activations stay floats here.
_ABOUT_COMPUTING = (
    *("llm_int8_threshold", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"),
    "bnb_4bit_quant_storage",
)


def quantization_mode(config: Any) -> str | None:
    """The mode of `model.quantize` that a config comes to, or None where there is no config.

    Args:
        config: `"int8"`, or what transformers takes: a `BitsAndBytesConfig(load_in_8bit=True)`, a
            `QuantoConfig(weights="int8")`, or a dict with their keys.

    Raises:
        TaskError: it asks for something else; the message names the method, and what to do instead.
    """
    if config is None or config == INT8:
        return config
    if isinstance(config, str):
        raise TaskError(f"quantization_config={config!r} is not done here. {_INSTEAD}.")
    keys = _keys(config)
    method = str(keys.pop("quant_method", None) or _guessed(keys))
    given = {name: value for name, value in keys.items() if value not in (None, False, [], {}) and name[0] != "_"}
    if method in ("bitsandbytes", "bitsandbytes_8bit") and given.pop("load_in_8bit", False):
        left = sorted(given.keys() - set(_ABOUT_COMPUTING))
    elif method == "quanto" and given.pop("weights", None) == "int8":
        left = sorted(given)
    else:
        width = " in 4 bits" if given.get("load_in_4bit") else ""
        raise TaskError(
            f"quantization_config asks for {method}{width}, and weights are not stored so while they are loaded. "
            f"{_INSTEAD}."
        )
    if left:
        raise TaskError(
            f"quantization_config has {', '.join(left)}: every linear and embedding is stored in 8 bits, and nothing "
            f"else can be chosen. Leave that out, or pass quantization_config={INT8!r}."
        )
    return INT8


def _keys(config: Any) -> dict[str, Any]:
    """The keys of a config: of a dict, or of an object as transformers has them."""
    if isinstance(config, Mapping):
        return dict(config)
    written = getattr(config, "to_dict", None)
    if written is None:
        raise TaskError(f"quantization_config is a {type(config).__name__}; expected {INT8!r}, a dict or a config.")
    keys = dict(written())
    return {**keys, "quant_method": getattr(keys.get("quant_method"), "value", keys.get("quant_method"))}


def _guessed(keys: Mapping[str, Any]) -> str:
    """The method of a dict that does not name it; transformers tells bitsandbytes so."""
    return "bitsandbytes" if {"load_in_8bit", "load_in_4bit"} & keys.keys() else "a method without a name"
