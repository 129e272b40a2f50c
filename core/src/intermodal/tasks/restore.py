"""A blank model from the config in a `.keras` file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


def from_saved_config(saved: dict[str, Any]) -> TaskModel:
    """Make the model that `TaskModel.get_config` described, with variables of the same dtypes and zeros in them.

    Raises:
        PluginError: the family's plugin is not installed, or cannot be used.
    """
    from intermodal.families import resolve
    from intermodal.layers.lora import restore_lora
    from intermodal.layers.quantize import restore_quantized
    from intermodal.layers.storage import StoragePolicy
    from intermodal.plugins import manager
    from intermodal.weights.supply import BlankSupply

    plugins = manager()
    owner = plugins.family(saved["family"])
    config, _ = resolve(owner.family.config).from_hf(saved["config"], strict=False)
    weight_map = plugins.weight_map(owner, config, saved["task"])
    absent = [weight.name for weight in weight_map.weights if weight.if_absent == "left out"]
    weight_map = weight_map.without([name for name in absent if name not in saved["dtypes"]])
    policy = StoragePolicy(**saved["policy"])
    model = plugins.build_model(
        owner,
        config=config,
        task=saved["task"],
        weight_map=weight_map,
        weights=BlankSupply(saved["dtypes"], policy.variable_dtype),
        dtype=policy,
    )
    if saved["quantization"]:
        restore_quantized(model, saved["dtypes"], saved["quantization"])
    if saved["adapter"]:
        restore_lora(model, saved["adapter"])
    return model
