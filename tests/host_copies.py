"""Counts what brings numbers or arrays from a device to the host, of array_api_strict and of CuPy."""

from contextlib import contextmanager

import numpy as np

NUMBERS = ("__bool__", "__complex__", "__float__", "__index__", "__int__")


def _noting(log, name, original, when=lambda self, *args: True):
    def called(self, *args, **kwargs):
        if when(self, *args):
            log.append(name)
        return original(self, *args, **kwargs)

    return called


@contextmanager
def counted(home):
    """``with counted(home) as log: ...``; the log names each copy, in order."""
    log, patches = [], []
    if home.name == "array_api_strict":
        array = type(home.zeros((1,), "float32"))
        leaving = lambda self, device, *_: "CPU" in str(device) and "CPU" not in str(self.device)
        patches = [(array, name, None) for name in NUMBERS] + [(array, "to_device", leaving)]
    elif home.name == "cupy":
        import cupy

        patches = [(cupy.ndarray, name, None) for name in (*NUMBERS, "get", "item", "tolist")]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in patches]
    for owner, name, when in patches:
        original = getattr(owner, name)
        setattr(owner, name, _noting(log, name, original, when or (lambda self, *args: True)))
    try:
        yield log
    finally:
        for owner, name, old in before:
            if old is None:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


def random(home, *shape, seed=0, dtype="float32"):
    return home.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)
