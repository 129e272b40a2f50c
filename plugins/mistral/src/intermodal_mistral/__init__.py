"""The Mistral family for intermodal: Mistral 7B, Nemo, Small, Large (all text) and Ministral 8B."""
