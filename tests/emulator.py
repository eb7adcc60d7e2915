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


def shared_library(factory, text, made, *options):
    """The program ``text`` as the library ``made``, with what is the same in all and each process compiles once.

    That is the emulator's own part, and its header, which takes longer to read than what we ask of it. A compiler takes
    a header that was read before only where nothing is defined before it, so what is defined by options stands behind.
    """
    common = factory.getbasetemp() / "emulator"
    if not common.exists():
        common.mkdir()
        _run("-O2", "-c", HERE / "cuda_emulator.cc", "-o", common / "emulator.o")
        (common / "once.h").write_text('#include "cuda_emulator.h"\n')
        if "g++" in COMPILER:
            _run("-x", "c++-header", f"-I{HERE}", common / "once.h", "-o", common / "once.h.gch")
    defined = [option[2:].replace("=", " ", 1) for option in options if option.startswith("-D")]
    main = made.with_suffix(".cc")
    main.write_text("\n".join(['#include "once.h"', *(f"#define {name}" for name in defined), text]))
    others = [option for option in options if not option.startswith("-D")]
    _run("-shared", *others, f"-I{common}", f"-I{HERE}", main, common / "emulator.o", "-o", made)
    return ctypes.CDLL(str(made))


def _run(*arguments):
    subprocess.run([COMPILER, *FLAGS, *map(str, arguments), STANDARD], check=True)
