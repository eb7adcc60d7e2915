"""Models in C, compiled and loaded."""

import ctypes
import subprocess

import numpy as np

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wdouble-promotion", "-O1"]
STRICT += ["-Wconversion", "-Wshadow"]


def compiled(compiler, *arguments, options=STRICT):
    done = subprocess.run([compiler, *options, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class InC:
    """A model compiled and loaded: ``step`` and ``block`` from a state of its own."""

    def __init__(self, compiler, source, name="model", options=STRICT):
        library = source.with_suffix(".so")
        compiled(compiler, "-shared", "-fPIC", source, "-o", library, options=options)
        self.library, self.name = ctypes.CDLL(str(library)), name
        self.state = ctypes.create_string_buffer(1 << 16)
        self("init")

    def __call__(self, what, *arguments):
        pointers = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        getattr(self.library, f"{self.name}_{what}")(self.state, *pointers)

    def block(self, x, outputs):
        y = np.full((len(x), outputs), np.nan, "float32")
        self("block", x, y, len(x))
        return y
