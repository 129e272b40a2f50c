"""Adapters as PEFT writes them: read beside the model that they were trained on, merged or kept apart, and written."""
