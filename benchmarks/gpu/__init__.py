"""Recurrent layers on one GPU beside PyTorch's cuDNN; begin with run.py."""
