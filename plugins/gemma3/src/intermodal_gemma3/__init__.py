"""The Gemma 3 family for intermodal."""
