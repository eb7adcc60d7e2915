"""Attention: scores and weights, several heads, and the Transformer encoder."""
