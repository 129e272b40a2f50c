"""The LayoutLMv2 family for intermodal: documents read by their words, layout and image (arXiv:2012.14740)."""
