"""The Vision Transformer family for intermodal (arXiv:2010.11929)."""
