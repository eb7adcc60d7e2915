"""Measurements. From a checkout: ``python benchmarks/cpu.py``; on a GPU, ``python -m benchmarks.gpu.run``."""
