"""Keywords of transformers' from_pretrained, in the words of `intermodal.load`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from intermodal.auto.quantization import INT4, INT8, quantization_mode
from intermodal.errors import TaskError

if TYPE_CHECKING:
    from intermodal.auto.location import Location

_LOAD = (
    "variant",
    "key_mapping",
    "ignore_mismatched_sizes",
    "family",
    "strict",
    "backend",
    "device",
    "progress",
    "adapter",
)
# What is done here anyway, whatever they say.
_ALWAYS = {"low_cpu_mem_usage": (True, False, None), "use_safetensors": (True, None), "weights_only": (True, None)}
_ALWAYS |= dict.fromkeys(("load_in_8bit", "load_in_4bit"), (False, None))
_REFUSED = {
    "use_safetensors": "weights in pickle files can run code when they are read, so they are never opened",
    "weights_only": "weights in pickle files can run code when they are read, so they are never opened",
    "load_in_8bit": f"pass quantization_config={INT8!r}",
    "load_in_4bit": f"pass quantization_config={INT4!r}",
    "state_dict": "give weights as a checkpoint, or assign the variables of the loaded model",
    "tp_plan": "to shard a model over devices, set a keras.distribution before it is loaded",
    "device_mesh": "to shard a model over devices, set a keras.distribution before it is loaded",
    "offload_folder": "weights are not offloaded to disk",
    "max_memory": "weights are not spread over devices by their size",
    "generation_config": "set model.generation_settings once it is loaded, or pass settings to generate()",
    "from_tf": "TensorFlow's own weight files are not read; safetensors and GGUF are",
    "from_flax": "Flax' own weight files are not read; safetensors and GGUF are",
}


def take_load_arguments(kwargs: dict[str, Any], location: Location) -> tuple[dict[str, Any], str | None]:
    """The keywords of `load`, and how to quantise the model then.

    Args:
        kwargs: what is left of the keywords of `from_pretrained`; it is emptied.
        location: where the checkpoint is.

    Raises:
        TaskError: a keyword asks for what is not done; it names it, and what to do instead.
    """
    from intermodal.auto.config import read_config

    given = read_config(kwargs.pop("config", None), {})
    arguments: dict[str, Any] = {key: kwargs.pop(key) for key in _LOAD if key in kwargs}
    dtype, old = kwargs.pop("dtype", None), kwargs.pop("torch_dtype", None)
    arguments["dtype"] = dtype_name(dtype if dtype is not None else old)
    device = device_name(kwargs.pop("device_map", None))
    if device is not None:
        arguments["device"] = device
    quantization = quantization_mode(kwargs.pop("quantization_config", None))
    for name, accepted in _ALWAYS.items():
        if name in kwargs and kwargs[name] in accepted:
            kwargs.pop(name)
    refused = [name for name in kwargs if name in _REFUSED]
    if refused:
        raise TaskError("; ".join(f"{name}: {_REFUSED[name]}" for name in refused) + ".")
    keys = {name: kwargs.pop(name) for name in list(kwargs)}
    if given is not None and keys and not isinstance(given, dict):
        raise TaskError(
            f"config={type(given).__name__}(…) and {', '.join(keys)}: give AutoConfig.from_pretrained the keywords "
            "that change a config, or leave out config."
        )
    arguments["config"] = (
        {**given, **keys} if isinstance(given, dict) else (given if given is not None else keys or None)
    )
    return {**arguments, **asdict(location.access)}, quantization


def dtype_name(dtype: Any) -> str:
    """The name of a dtype: of `"auto"`, None (the same), a name, or torch's, numpy's or jax's object."""
    if dtype is None:
        return "auto"
    if isinstance(dtype, str):
        return dtype.removeprefix("torch.")
    named = getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or str(dtype)
    return str(named).removeprefix("torch.")


def device_name(device_map: Any) -> str | None:
    """The device that a `device_map` means, as Keras names it; None for Keras' own choice.

    Raises:
        TaskError: it means several devices.
    """
    if device_map in (None, "auto"):
        return None
    name = str(device_map)
    kind, _, index = name.partition(":")
    if isinstance(device_map, dict) or kind not in ("cpu", "cuda", "gpu", "tpu"):
        raise TaskError(
            f"device_map={device_map!r}: a model is put on one device, device_map='cuda:0' or 'cpu'. To spread it over "
            "several, set a keras.distribution before it is loaded."
        )
    return f"{'gpu' if kind == 'cuda' else kind}:{index or 0}" if kind != "cpu" else "cpu"
