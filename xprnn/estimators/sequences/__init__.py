"""Labelled sequences of numbers: classes, numbers, a label each step, and what is unlike the rest."""
