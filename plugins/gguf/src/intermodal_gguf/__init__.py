"""GGUF checkpoints for intermodal."""
