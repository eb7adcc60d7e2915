"""CUDA C++ compiled for the CPU, to run on kernels/cuda/cuda_emulator.h."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "kernels" / "cuda"
COMPILER = sys.platform == "linux" and (shutil.which("g++") or shutil.which("clang++"))
FLAGS = ["-O1", "-fPIC", "-ffp-contract=off"]
STANDARD = "-std=c++20"  # for the emulator's own sake; the last one counts


def shared_library(factory, text, made, *options):
    """The program ``text`` as the library ``made``, with what is the same in all.

    A compiler takes a header that was read before only where nothing is defined before it, so what is defined by
    options stands behind.
    """
    common = common_part(factory)
    defined = [option[2:].replace("=", " ", 1) for option in options if option.startswith("-D")]
    main = made.with_suffix(".cc")
    main.write_text("\n".join(['#include "once.h"', *(f"#define {name}" for name in defined), text]))
    others = [option for option in options if not option.startswith("-D")]
    _run("-shared", *others, f"-I{common}", f"-I{HERE}", main, common / "emulator.o", "-o", made)
    return ctypes.CDLL(str(made))


def common_part(factory):
    """A folder with the emulator's own part, and its header, which takes longer to read than what we ask of it.

    Whichever process of a run comes first compiles both, and others wait for it.
    """
    import fcntl  # which Windows has not

    folder = factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "emulator"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _run("-O2", "-c", HERE / "cuda_emulator.cc", "-o", folder / "emulator.o")
            (folder / "once.h").write_text('#include "cuda_emulator.h"\n')
            if "g++" in COMPILER:
                _run("-x", "c++-header", f"-I{HERE}", folder / "once.h", "-o", folder / "once.h.gch")
            (folder / "whole").touch()
    return folder


def _run(*arguments):
    subprocess.run([COMPILER, *FLAGS, *map(str, arguments), STANDARD], check=True)
