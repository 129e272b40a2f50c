"""The module of kernels for the backend that Keras runs on, settled when this is imported."""

from __future__ import annotations

import keras

if keras.backend.backend() == "jax":
    from intermodal.kernels import jax as native
elif keras.backend.backend() == "torch":
    from intermodal.kernels import torch as native
else:
    from intermodal.kernels import tensorflow as native

__all__ = ["native"]
