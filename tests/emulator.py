"""CUDA C++ compiled for the CPU, to run on kernels/cuda/cuda_emulator.h."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "kernels" / "cuda"
COMPILER = sys.platform == "linux" and (shutil.which("g++") or shutil.which("clang++"))
FLAGS = ["-O1", "-fPIC", "-ffp-contract=off"]
STANDARD = "-std=c++20"  # for the emulator's own sake; the last one counts


def shared_library(factory, main, made, *options):
    """The program ``main`` as the library ``made``, with the emulator's own part, which each process compiles once."""
    emulator = factory.getbasetemp() / "cuda_emulator.o"
    if not emulator.exists():
        _run("-O2", "-c", HERE / "cuda_emulator.cc", "-o", emulator)
    _run("-shared", *options, f"-I{HERE}", main, emulator, "-o", made)
    return ctypes.CDLL(str(made))


def _run(*arguments):
    subprocess.run([COMPILER, *FLAGS, *map(str, arguments), STANDARD], check=True)
