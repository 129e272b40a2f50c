"""Products of narrow and wide weights in C, for intermodal on CPUs."""
