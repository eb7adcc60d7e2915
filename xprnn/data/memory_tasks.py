"""Tasks that need memory: what counts is seen early, or everywhere, and asked for at the end.

All are drawn fresh, so that nothing can be learned by heart. Arrays are of the default backend, time-major; the same
``rng`` gives the same bits on every backend.
"""

from __future__ import annotations

import numpy as np

from xprnn.arguments import affordable, float_dtype, size, whole_number
from xprnn.backend import Array, default_backend
from xprnn.randomness import Rng, generator


def first_element_recall(steps: int, batch: int, *, rng: Rng = None, dtype: str = "float32") -> tuple[Array, Array]:
    """Recall the first of T random bits, after Bengio, Simard and Frasconi 1994 (IEEE Trans. Neural Networks 5, 157).

    x (T, B, 1) holds -1 or 1, y (B, 1) is 1.0 where x[0] = 1, else 0.0. All steps but the first are noise; knowing
    nothing is right half of the time. Raises ValueError for T or B below 1.
    """
    steps, batch = _sizes("first_element_recall", steps, batch)
    bits = generator(rng).integers(0, 2, (steps, batch, 1))
    return _arrays("first_element_recall", dtype, 2 * bits - 1, bits[0])


def sum_sign(steps: int, batch: int, *, rng: Rng = None, dtype: str = "float32") -> tuple[Array, Array]:
    """Tell whether the sum of T normal numbers is above zero.

    x (T, B, 1) from N(0, 1), y (B, 1) is 1.0 where x sums to more than 0, else 0.0. Raises ValueError for T or B
    below 1.
    """
    steps, batch = _sizes("sum_sign", steps, batch)
    x = generator(rng).standard_normal((steps, batch, 1))
    return _arrays("sum_sign", dtype, x, x.sum(axis=0) > 0)


def adding_problem(steps: int, batch: int, *, rng: Rng = None, dtype: str = "float32") -> tuple[Array, Array]:
    """Add the two marked ones of T numbers (Hochreiter and Schmidhuber 1997, section 5.4).

    x (T, B, 2): a number from U(0, 1), and a marker, 1 at one step of the first half and at one of the second, else 0.
    y (B, 1) is the sum of the two numbers. The range is that of Le, Jaitly and Hinton 2015 (arXiv 1504.00941), the
    halves are those of Arjovsky et al. 2016 (arXiv 1511.06464). Always to say the mean, 1, gives a mean squared error
    of 1/6: two times the variance 1/12 of U(0, 1).

    Raises ValueError for T below 2 or B below 1.
    """
    steps, batch = _sizes("adding_problem", steps, batch, least=2)
    draws, half = generator(rng), steps // 2
    numbers, markers = draws.uniform(size=(steps, batch)), np.zeros((steps, batch))
    for low, high in ((0, half), (half, steps)):
        markers[draws.integers(low, high, batch), np.arange(batch)] = 1.0
    return _arrays(
        "adding_problem", dtype, np.stack([numbers, markers], axis=-1), (numbers * markers).sum(axis=0)[:, None]
    )


COPY_SYMBOLS, COPY_LENGTH = 8, 10


def copy_memory(delay: int, batch: int, *, rng: Rng = None) -> tuple[Array, Array]:
    """Say ten symbols again after a delay (Hochreiter and Schmidhuber 1997; Arjovsky et al. 2016, arXiv 1511.06464).

    x, y (delay + 20, B), integers. x: 10 random symbols 0-7, ``delay`` blanks 8 the last of which is the mark 9 that
    asks for the answer, and 10 blanks; y: blanks, and in the last 10 steps the symbols. One knows nothing of the
    symbols without memory, so the best mean cross-entropy is then :func:`memoryless_copy_loss`.

    Raises ValueError for a delay or B below 1.
    """
    delay, batch = _sizes("copy_memory", delay, batch, name="delay")
    blank, mark, length = COPY_SYMBOLS, COPY_SYMBOLS + 1, COPY_LENGTH
    x = np.full((delay + 2 * length, batch), blank, np.int64)
    y = x.copy()
    x[:length] = y[-length:] = generator(rng).integers(0, COPY_SYMBOLS, (length, batch))
    x[length + delay - 1] = mark
    home = default_backend()
    return home.asarray(x), home.asarray(y)


def memoryless_copy_loss(delay: int) -> float:
    """What the copy task costs who remembers nothing, in nats a step: 10 ln 8 / (delay + 20)."""
    delay = whole_number("memoryless_copy_loss", "delay", delay, 0)
    return COPY_LENGTH * float(np.log(COPY_SYMBOLS)) / (delay + 2 * COPY_LENGTH)


def _sizes(owner: str, steps: int, batch: int, name: str = "steps", least: int = 1) -> tuple[int, int]:
    steps, batch = size(owner, name, steps, least), size(owner, "batch", batch)
    affordable(owner, {"x": (steps, batch, 2)}, **{name: steps}, batch=batch)
    return steps, batch


def _arrays(owner: str, dtype: str, *arrays: np.ndarray) -> tuple[Array, Array]:
    home = default_backend()
    x, y = (home.asarray(array.astype(float_dtype(owner, dtype))) for array in arrays)
    return x, y
