"""A model with new weights from a config alone, to be trained from the beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


def random_model(config: Any, task: str, dtype: str, seed: int | None = None) -> TaskModel:
    """Build the model of a config for a task.

    Args:
        config: typed; its first model type names the family.
        task: as `load` takes it.
        dtype: what weights are stored in; `"auto"` is float32.
        seed: of the weights.

    Raises:
        TaskError: the family has no such task.
        PluginError: no installed plugin has the family.
    """
    from intermodal.backend import choose
    from intermodal.dtypes import check_storage, compute_dtype
    from intermodal.plugins import manager
    from intermodal.tasks import check_task

    check_storage(dtype)
    choose(None)
    from intermodal.layers.storage import StoragePolicy, device_kind
    from intermodal.weights.supply import RandomSupply

    plugins = manager()
    owner = plugins.family(config.model_types[0])
    check_task(owner.family, task)
    stored = "float32" if dtype == "auto" else dtype
    deviation = config.raw.get("initializer_range")
    return plugins.build_model(
        owner,
        config=config,
        task=task,
        weight_map=plugins.weight_map(owner, config, task),
        weights=RandomSupply(stored, deviation if isinstance(deviation, float) else 0.02, seed),
        dtype=StoragePolicy(stored, compute_dtype(stored, device_kind())),
    )
