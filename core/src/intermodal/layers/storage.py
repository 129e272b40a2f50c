"""How weights are stored and what they are computed in, as a Keras dtype policy."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="intermodal")
class StoragePolicy(keras.dtype_policies.DTypePolicy):
    """Variables in `storage`, activations in `compute`.

    Keras' own policies cannot say "stored in bfloat16, computed in float32", which is what a CPU wants.
    """

    def __init__(self, storage: str, compute: str) -> None:
        super().__init__(compute)
        self._variable_dtype = storage
        self._name = compute if storage == compute else f"{storage}_computed_in_{compute}"

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same policy."""
        return {"storage": self.variable_dtype, "compute": self.compute_dtype}


def device_kind() -> str:
    """`"cpu"`, `"gpu"` or `"tpu"`: where the running backend will compute, `keras.device` scopes included."""
    import keras.src.backend as backend

    if backend.backend() == "jax":
        import jax

        device = getattr(jax.config, "jax_default_device", None) or jax.devices()[0]
        kind = device if isinstance(device, str) else device.platform
    elif backend.backend() == "torch":
        from keras.src.backend.torch.core import get_device

        kind = get_device()
    else:
        import tensorflow as tf

        kind = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    kind = str(kind).split(":")[0].lower()
    return {"cuda": "gpu", "rocm": "gpu", "mps": "gpu"}.get(kind, kind)
