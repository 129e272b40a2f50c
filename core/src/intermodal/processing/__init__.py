"""Text in and out of a model: tokenizers, chat templates, and the files they are read from."""
