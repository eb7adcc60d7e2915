"""What the array API standard lacks: the error function, and sums by index."""

from __future__ import annotations

import math

from xprnn.backend import Array, backend_of, dtype_name, namespace

# Coefficients of W. J. Cody, "Rational Chebyshev approximation for the error function", Math. Comp. 23 (1969).
# Each pair is a numerator and a denominator, highest power first.
SMALL = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    numerator, denominator = (_polynomial(c, x) for c in coefficients)
    return numerator / denominator


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    total = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


def erf(x: Array) -> Array:
    """2/sqrt(pi) times the integral of e ** -t^2 from 0 to x, elementwise, to a few units in the last place."""
    xp = namespace(x)
    size = xp.abs(x)
    # Every branch is computed for every element, so each gets an argument that it can bear.
    small = xp.where(size <= 0.5, x, xp.zeros_like(x))
    middle = xp.where(size <= 4.0, size, xp.ones_like(x))
    large = xp.where(size > 4.0, xp.where(size > 30.0, 30.0 * xp.ones_like(x), size), 5.0 * xp.ones_like(x))
    near = small * _ratio(SMALL, small * small)
    tail_middle = xp.exp(-middle * middle) * _ratio(MIDDLE, middle)
    inverse = 1.0 / (large * large)
    tail_large = xp.exp(-large * large) / large * (1.0 / math.sqrt(math.pi) - inverse * _ratio(LARGE, inverse))
    far = 1.0 - xp.where(size <= 4.0, tail_middle, tail_large)
    y = xp.where(size <= 0.5, near, xp.where(x < 0, -far, far))
    return xp.where(xp.isnan(x), x, y)


def scatter_add(index: Array, values: Array, size: int) -> Array:
    """Sum rows by index: out[i] = sum of values[n] over all n with index[n] == i.

    index (N,) integers in [0, size); values (N, D); out (size, D). The array API has no such function, so
    each library gets its own, and a library we do not know gets a product with a one-hot matrix. On CuPy the order of
    additions, and with it the last bit, is not the same in every run.
    """
    xp, columns = namespace(index=index, values=values), int(values.shape[1])
    home = backend_of(values)
    if home.name in ("numpy", "cupy"):
        # One flat index an element: NumPy is several times faster so than with rows. A narrow type could not hold it.
        places = xp.expand_dims(xp.astype(index, xp.int64, copy=False), axis=1) * columns + home.arange(columns)
        places = xp.reshape(places, (-1,))
        out = home.zeros((size * columns,), dtype_name(values))
        xp.add.at(out, places, xp.reshape(values, (-1,)))
        return xp.reshape(out, (size, columns))
    rows = xp.expand_dims(home.arange(size), axis=1)
    one_hot = xp.astype(rows == xp.expand_dims(index, axis=0), values.dtype)
    return xp.matmul(one_hot, values)
