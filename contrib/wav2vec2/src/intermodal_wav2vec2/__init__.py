"""wav2vec 2.0 for intermodal: speech recognition, and classification of recordings."""
