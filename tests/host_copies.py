"""Counts what brings numbers or arrays from a device to the host, of array_api_strict and of CuPy."""

from contextlib import contextmanager

import numpy as np

NUMBERS = ("__bool__", "__complex__", "__float__", "__index__", "__int__")


def _noting(log, inside, name, original, when):
    def called(self, *args, **kwargs):
        if inside or not when(self, *args):  # CuPy's __float__ calls get: that is one copy
            return original(self, *args, **kwargs)
        log.append(name)
        inside.append(name)
        try:
            return original(self, *args, **kwargs)
        finally:
            inside.pop()

    return called


def _by_mask(self, key, *_):
    """Whether elements are picked by a mask: how many there are must be known on the host."""
    parts = key if isinstance(key, tuple) else (key,)
    return any(str(getattr(part, "dtype", "")).endswith("bool") for part in parts)


@contextmanager
def counted(home):
    """``with counted(home) as log: ...``; the log names each copy, in order, and what else waits for the device."""
    log, patches, inside = [], [], []
    if home.name == "array_api_strict":
        array = type(home.zeros((1,), "float32"))
        leaving = lambda self, device, *_: "CPU" in str(device) and "CPU" not in str(self.device)
        patches = [(array, name, None) for name in NUMBERS]
        patches += [(array, "to_device", leaving), (array, "__getitem__", _by_mask)]
    elif home.name == "cupy":
        import cupy

        names = (*NUMBERS, "get", "item", "tolist")
        patches = [(cupy.ndarray, name, None) for name in names if hasattr(cupy.ndarray, name)]  # it has no __index__
        patches.append((cupy.ndarray, "__getitem__", _by_mask))
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in patches]
    for owner, name, when in patches:
        original = getattr(owner, name)
        setattr(owner, name, _noting(log, inside, name, original, when or (lambda self, *args: True)))
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
