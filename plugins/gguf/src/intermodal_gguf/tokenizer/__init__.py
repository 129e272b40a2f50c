"""Build a tokenizer from a GGUF file's `tokenizer.*` keys."""

from intermodal_gguf.tokenizer.build import build_tokenizer

__all__ = ["build_tokenizer"]
