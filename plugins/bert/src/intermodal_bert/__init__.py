"""The BERT family for intermodal: the encoder and its heads (arXiv:1810.04805)."""
