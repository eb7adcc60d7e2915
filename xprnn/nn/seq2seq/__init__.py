"""Encoder and decoder, both as one model, and the search for what they would write."""
