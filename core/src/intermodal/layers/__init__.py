"""What families are built of: layers that own weights as the weight map declares them, and the step they compute."""
