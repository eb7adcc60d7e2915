"""Recurrent sequences on CUDA devices. Importing this imports neither CuPy nor a compiler.

step.py, a product and a pointwise kernel for each step, and persistent.py, one launch for all of them, have the
interface of cpu/sequence.py. Below them: product.py (cuBLAS), launch.py (devices, compiling, launching), translate.py
(the pointwise kernels, from Python to CUDA C++).
"""
