"""Models whose weights are numbers of 8 bits, for inference."""
