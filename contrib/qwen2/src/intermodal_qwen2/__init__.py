"""The Qwen2 family for intermodal: Qwen2 and Qwen2.5 (text)."""
