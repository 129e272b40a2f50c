"""Hugging Face checkpoints as Keras 3 models on JAX, PyTorch and TensorFlow, and back."""
