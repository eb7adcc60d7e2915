"""tanh, sigmoid and exp as vectorisable arithmetic, for float32 and float64.

And log(1 + x) for x from 0 to 1, as the logarithm of a sigmoid needs it: at most 3 ulp.

Errors over the whole range (tests/kernels/test_activations.py), with fused multiply-adds or without: tanh at most 7 ulp
in float32 and 2 ulp in float64; sigmoid at most 2.1e-7 and 2.3e-16 absolute. Exact at 0, within [-1, 1] and [0, 1], NaN
for NaN, limits for infinities.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from ..scalar_cells import END32, P32, Q32, SIGMOID_END32, SIGMOID_P32, SIGMOID_Q32
from .compiling import OPTIONS, kernel
from .lanes import choose, two_to

f4 = np.float32
ONE32, HALF32, ZERO32 = f4(1.0), f4(0.5), f4(0.0)
MOST32, SIGMOID_MOST32 = END32 * END32, SIGMOID_END32 * SIGMOID_END32

# Cephes: tanh(x) = x + x^3 P(x^2) / Q(x^2) near 0, else from e^2x; e^r = 1 + 2 r P(r^2) / (Q(r^2) - r P(r^2)).
NEAR, END64 = 0.625, 22.0
ROUND = 1.5 * 2.0**52  # adding it rounds to an integer, which then stands in the lowest bits
END_EXP = 700.0
LOG2E, LN2_HIGH, LN2_LOW = 1.0 / math.log(2.0), 6.93145751953125e-1, 1.42860682030941723212e-6


def tanh(x):
    """The hyperbolic tangent, in compiled code and of :class:`Lanes`."""
    return (_tanh32 if x.single else _tanh64).py_func(x)


@overload(tanh)
def _tanh(x):
    return {types.float32: lambda x: _tanh32(x), types.float64: lambda x: _tanh64(x)}.get(x)


def sigmoid(x):
    """1 / (1 + e^-x), likewise."""
    return (_sigmoid32 if x.single else _sigmoid64).py_func(x)


@overload(sigmoid)
def _sigmoid(x):
    return {types.float32: lambda x: _sigmoid32(x), types.float64: lambda x: _sigmoid64(x)}.get(x)


@register_jitable(inline="always", **OPTIONS)
def _ratio(s, p, q):
    """P(s) / Q(s), where Q's highest coefficient is 1."""
    top = p[0] * s + p[1]
    top = top * s + p[2]
    top = top * s + p[3]
    low = s + q[0]
    low = low * s + q[1]
    low = low * s + q[2]
    return (top * s + p[4]) / (low * s + q[3])


@register_jitable(inline="always", **OPTIONS)
def tanh_equation(x):
    """Of float32. It has no machine code of its own: with fused multiply-adds or without says who calls it."""
    s = x * x
    s = choose(s > MOST32, MOST32, s)  # written so that NaN passes, each as one instruction
    y = x * _ratio(s, P32, Q32)
    y = choose(y > ONE32, ONE32, y)
    return choose(y < -ONE32, -ONE32, y)


@register_jitable(inline="always", **OPTIONS)
def sigmoid_equation(x):
    """Likewise: tanh(x / 2) / 2 + 1/2, with all halves in the coefficients."""
    s = x * x
    s = choose(s > SIGMOID_MOST32, SIGMOID_MOST32, s)
    y = x * _ratio(s, SIGMOID_P32, SIGMOID_Q32) + HALF32
    y = choose(y > ONE32, ONE32, y)
    return choose(y < ZERO32, ZERO32, y)


@kernel
def _tanh32(x):
    return tanh_equation(x)


@kernel
def _sigmoid32(x):
    return sigmoid_equation(x)


@register_jitable(inline="always", **OPTIONS)
def _power(x):
    """e^x, for |x| up to END_EXP."""
    shifted = x * LOG2E + ROUND
    n = shifted - ROUND
    r = x - n * LN2_HIGH - n * LN2_LOW
    rr = r * r
    top = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr + 9.99999999999999999910e-1)
    low = 3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3
    low = (low * rr + 2.27265548208155028766e-1) * rr + 2.00000000000000000009
    return (1.0 + 2.0 * top / (low - top)) * two_to(shifted)


@kernel
def _tanh64(x):
    size = abs(x)
    s = size * size
    p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3
    q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
    near = size + size * s * p / q
    power = _power(2.0 * choose(size > END64, END64, size))
    far = 1.0 - 2.0 / (power + 1.0)
    y = choose(size < NEAR, near, far)
    y = choose(x < 0.0, -y, y)
    return choose((x == 0.0) | (x != x), x, y)


@kernel
def _sigmoid64(x):
    return (tanh(x * 0.5) + 1.0) * 0.5


# Cephes' e^r in float32, for |r| up to log(2) / 2; beyond the ends e^x is 0 or infinite, a little early.
P_EXP32 = tuple(f4(p) for p in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1))
ROUND32, LOG2E32 = f4(1.5 * 2.0**23), f4(LOG2E)
LN2_HIGH32, LN2_LOW32 = f4(0.693359375), f4(-2.12194440e-4)
LOWEST32, HIGHEST32, INF32 = f4(-87.33), f4(88.37), f4(np.inf)


def exp(x):
    """The exponential function, of float64 limited to e^-700 and e^700; compiled code only."""
    raise NotImplementedError


@overload(exp)
def _exp(x):
    return {types.float32: lambda x: _exp32(x), types.float64: lambda x: _exp64(x)}.get(x)


@kernel
def _exp32(x):
    within = HIGHEST32 if x > HIGHEST32 else x  # written so that NaN passes
    within = LOWEST32 if within < LOWEST32 else within
    shifted = within * LOG2E32 + ROUND32
    n = shifted - ROUND32
    r = within - n * LN2_HIGH32 - n * LN2_LOW32
    p = P_EXP32[0]
    p = p * r + P_EXP32[1]
    p = p * r + P_EXP32[2]
    p = p * r + P_EXP32[3]
    p = p * r + P_EXP32[4]
    p = p * r + HALF32
    y = (p * (r * r) + r + ONE32) * two_to(shifted)
    y = f4(0.0) if x < LOWEST32 else y
    return INF32 if x > HIGHEST32 else y


@kernel
def _exp64(x):
    x = END_EXP if x > END_EXP else x  # written so that NaN passes
    return _power(-END_EXP if x < -END_EXP else x)


# Cephes: log(1 + x) = x - x^2 / 2 + x^3 P(x) / Q(x), for 1 + x from sqrt(1/2) to sqrt(2).
P_LOG = (
    4.5270000862445199635215e-5, 4.9854102823193375972212e-1, 6.5787325942061044846969e0, 2.9911919328553073277375e1,
    6.0949667980987787057556e1, 5.7112963590585538103336e1, 2.0039553499201281259648e1,
)  # fmt: skip
Q_LOG = (
    1.5062909083469192043167e1, 8.3047565967956967209469e1, 2.2176239823732856465394e2, 3.0909872225312059774938e2,
    2.1642788614495947685003e2, 6.0118660497603843919306e1,
)  # fmt: skip
NEAR_LOG, LN2 = math.sqrt(2.0) - 1.0, math.log(2.0)


def log1p(x):
    """log(1 + x), for x from 0 to 1; compiled code only."""
    raise NotImplementedError


@overload(log1p)
def _log1p(x):
    return {types.float32: lambda x: _log1p32(x), types.float64: lambda x: _log1p64(x)}.get(x)


@kernel
def _log1p32(x):
    """2 artanh(x / (2 + x)), as a series of odd powers of numbers up to a third."""
    s = x / (f4(2.0) + x)
    q = s * s
    p = f4(1.0 / 13.0)
    p = p * q + f4(1.0 / 11.0)
    p = p * q + f4(1.0 / 9.0)
    p = p * q + f4(1.0 / 7.0)
    p = p * q + f4(1.0 / 5.0)
    p = p * q + f4(1.0 / 3.0)
    return f4(2.0) * (s + s * q * p)


@kernel
def _log1p64(x):
    far = x > NEAR_LOG
    x = 0.5 * (x - 1.0) if far else x  # 1 + x is halved then
    p = P_LOG[0]
    p = p * x + P_LOG[1]
    p = p * x + P_LOG[2]
    p = p * x + P_LOG[3]
    p = p * x + P_LOG[4]
    p = p * x + P_LOG[5]
    p = p * x + P_LOG[6]
    q = x + Q_LOG[0]
    q = q * x + Q_LOG[1]
    q = q * x + Q_LOG[2]
    q = q * x + Q_LOG[3]
    q = q * x + Q_LOG[4]
    q = q * x + Q_LOG[5]
    s = x * x
    near = x + (x * (s * (p / q)) - 0.5 * s)
    return near + LN2 if far else near
