"""Small random checkpoints made by transformers, and what transformers computes from them.

transformers is a test dependency: it is imported only when these functions are called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def make_reference(architecture: str, fields: dict[str, Any], *, seed: int = 0) -> Any:
    """A random transformers model in float32 whose norms and biases are random too, so that none is without effect.

    Args:
        architecture: transformers' class, such as `"BloomForCausalLM"`.
        fields: of its config class.
        seed: of the weights.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    model_class = getattr(transformers, architecture)
    model = model_class(model_class.config_class(**fields)).eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.15)
        model.tie_weights()
    return model


def save_reference(model: Any, folder: str | Path, *, shard_bytes: int | None = None, dtype: str | None = None) -> Path:
    """Save a reference model as transformers does; in several files where `shard_bytes` is given."""
    import torch

    if dtype is not None:
        model = model.to(getattr(torch, dtype))
    options = {"max_shard_size": shard_bytes} if shard_bytes else {}
    model.save_pretrained(folder, **options)
    return Path(folder)


def edit_checkpoint(
    folder: Path, change: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None, **config: Any
) -> Path:
    """Change a checkpoint as they are found: its tensors, and keys of its config.json.

    Args:
        folder: with a model.safetensors and a config.json.
        change: gives the new tensors, by name, for the old ones.
        config: new values of keys; None takes a key out.

    Returns:
        The folder.
    """
    from safetensors.numpy import load_file, save_file

    if change is not None:
        file = folder / "model.safetensors"
        save_file(dict(change(load_file(file))), file, metadata={"format": "pt"})
    raw = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in raw.items() if value is not None}))
    return folder


def tensor_bytes(folder: Path) -> dict[str, np.ndarray]:
    """The raw bytes of every tensor of a folder's safetensors files by name, (…) uint8, whatever their dtype."""
    import torch
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {name: tensor.contiguous().view(torch.uint8).numpy() for name, tensor in tensors.items()}


def reference_outputs(model: Any, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What the reference model returns for these inputs, as numpy arrays."""
    import torch

    with torch.no_grad():
        outputs = model(**{name: torch.tensor(np.asarray(values)) for name, values in inputs.items()})
    return {name: value.float().numpy() for name, value in outputs.items() if isinstance(value, torch.Tensor)}


def assert_close(got: Any, expected: np.ndarray, *, scale: float = 1e-4) -> None:
    """Assert that two arrays differ by at most `scale` of the largest expected value, nowhere more.

    1e-4 in float32 is far above rounding (2e-6 to 4e-6 is usual) and far below any wrong formula.
    """
    from keras import ops

    values = np.asarray(ops.convert_to_numpy(got), np.float32)
    assert values.shape == expected.shape, f"shape {values.shape}, expected {expected.shape}"
    worst = float(np.abs(values - expected).max())
    allowed = scale * float(np.abs(expected).max())
    assert worst <= allowed, f"differs by {worst:.3g}, allowed {allowed:.3g}"


def assert_int8_is_near(model: Any, inputs: Any) -> None:
    """Quantise a model that gives one tensor: it has to change, by at most a tenth of its largest value."""
    from keras import ops

    def output() -> np.ndarray:
        return np.array(ops.convert_to_numpy(model(inputs)), np.float32)

    expected = output()
    model.quantize("int8")
    worst, largest = float(np.abs(output() - expected).max()), float(np.abs(expected).max())
    assert 0 < worst < 0.1 * largest, f"differs by {worst:.3g}, of values up to {largest:.3g}"
