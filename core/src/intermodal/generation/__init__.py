"""Generating text: settings, the loop, choosing tokens, stopping and streaming."""
