"""Auto classes: transformers' names and arguments, dispatched over installed plugins. Importing them loads nothing."""
