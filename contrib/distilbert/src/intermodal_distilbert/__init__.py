"""The DistilBERT family for intermodal: the encoder and its heads (arXiv:1910.01108)."""
