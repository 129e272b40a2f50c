"""`intermodal new`: a new family's plugin, from an installed family's source and a checkpoint's headers."""
