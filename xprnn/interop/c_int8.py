"""The C of layers with weights of 8 bits: what :mod:`xprnn.engine.int8_reference` computes, operation by operation.

Weights lie row by row, as codes, those of x before those of h; numbers are biases, then the scales of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xprnn.cells import GRU, Cell, Elman
from xprnn.engine import int8_reference
from xprnn.interop.c_weights import biases

Host = np.ndarray[Any, Any]

BEFORE = """
/* Products and sums are rounded one by one: with fused ones some codes would be others. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-tree-slp-vectorize") /* which would fuse some all the same */
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#include <stdint.h>
"""

NEAREST = """
/* The nearest integer, of ties the even one. */
static signed char nearest(float x)
{
    int whole = (int)x;
    float rest = x - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole % 2 != 0))
        whole++;
    if (rest < -0.5f || (rest == -0.5f && whole % 2 != 0))
        whole--;
    return (signed char)whole;
}
"""

CODE = """
/* Codes of x, the largest of which is 127, and their scale; NaN where x is not finite. */
static float code(const float *x, int count, signed char *q)
{
    float top = 0.0f, inverse = 0.0f;
    int k;
    for (k = 0; k < count; k++) {
        float size = x[k] < 0.0f ? -x[k] : x[k];
        if (size > top || size != size)
            top = size;
    }
    if (!(top > 1e-30f && top <= 3.40282347e+38f)) {
        for (k = 0; k < count; k++)
            q[k] = 0;
        return top * 0.0f;
    }
    inverse = 127.0f / top;
    for (k = 0; k < count; k++)
        q[k] = nearest(x[k] * inverse);
    return top / 127.0f;
}
"""

ADD = """
/* z += W x, for codes of x with their scale. */
static void add8(const signed char *w, const float *scales, int rows, const signed char *q, int count, float scale,
                 float *z)
{
    int k, r;
    for (r = 0; r < rows; r++, w += count) {
        int32_t sum = 0;
        for (k = 0; k < count; k++)
            sum += (int32_t)w[k] * q[k];
        z[r] += (float)sum * (scale * scales[r]);
    }
}
"""


def _float(number: Any) -> str:
    """A number of float32 as C has it, to the bit."""
    text = f"{float(number):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _ratio(above: tuple[Any, ...], below: tuple[Any, ...], end: Any) -> str:
    """x P(s) / Q(s) of s = x * x, as the kernels have it: Q's highest coefficient is 1, and beyond ``end`` s stays."""
    most, (first, *others) = _float(end * end), map(_float, above)
    lines = [f"s = s > {most} ? {most} : s;", f"p = {first};", *(f"p = p * s + {number};" for number in others)]
    first, *others = map(_float, below)
    lines += [f"q = s + {first};", *(f"q = q * s + {number};" for number in others)]
    return "\n    ".join(lines)


TANH_RATIO = f"""\
{_ratio(*int8_reference.TANH)}
    y = x * (p / q);
    y = y > 1.0f ? 1.0f : y;
    return y < -1.0f ? -1.0f : y;"""

SIGMOID = """
/* As the kernels of xprnn have it, to the bit: half of tanh(x / 2), whose halves are in the coefficients, and 1/2. */
static float sigmoid8_of(float x)
{
    float s = x * x, p, q, y;
    @RATIO@
    y = x * (p / q) + 0.5f;
    y = y > 1.0f ? 1.0f : y;
    return y < 0.0f ? 0.0f : y;
}
""".replace("@RATIO@", _ratio(*int8_reference.SIGMOID))

LINEAR = """
static void linear8(const signed char *w, const float *b, int inputs, int outputs, const float *x, float *y,
                    signed char *q)
{
    float scale = code(x, inputs, q);
    b = start(b, outputs, y);
    add8(w, b, outputs, q, inputs, scale, y);
}
"""

RNN = """
static void rnn8_{f}(const signed char *w, const float *b, int inputs, int hidden, const float *x, const float *h,
                       float *z, signed char *q)
{{
    float scale = code(x, inputs, q);
    int j;
    b = start(b, hidden, z);
    add8(w, b, hidden, q, inputs, scale, z);
    scale = code(h, hidden, q);
    add8(w + hidden * inputs, b + hidden, hidden, q, hidden, scale, z);
    for (j = 0; j < hidden; j++)
        z[j] = {f}_of(z[j]);
}}
"""

LSTM_STEP = """
/* Gates i, f, g, o. */
static void lstm8(const signed char *w, const float *b, int inputs, int hidden, const float *x, const float *h,
                  float *c, float *z, signed char *q)
{
    const float *f = z + hidden, *g = f + hidden, *o = g + hidden;
    float scale = code(x, inputs, q);
    int j, rows = 4 * hidden;
    b = start(b, rows, z);
    add8(w, b, rows, q, inputs, scale, z);
    scale = code(h, hidden, q);
    add8(w + rows * inputs, b + rows, rows, q, hidden, scale, z);
    for (j = 0; j < hidden; j++) {
        c[j] = sigmoid8_of(f[j]) * c[j] + sigmoid8_of(z[j]) * tanh_of(g[j]);
        z[j] = sigmoid8_of(o[j]) * tanh_of(c[j]);
    }
}
"""

GRU_STEP = """
/* Gates r, z, n; r multiplies the product with h, for which n has a second place. */
static void gru8(const signed char *w, const float *b, int inputs, int hidden, const float *x, const float *h, float *z,
                 signed char *q)
{
    float *u = z + hidden, *n = u + hidden, *again = n + hidden;
    float scale = code(x, inputs, q);
    int j, rows = 3 * hidden, two = 2 * hidden;
    b = start(b, 4 * hidden, z);
    add8(w, b, rows, q, inputs, scale, z);
    scale = code(h, hidden, q);
    w += rows * inputs;
    b += rows;
    add8(w, b, two, q, hidden, scale, z);
    add8(w + two * hidden, b + two, hidden, q, hidden, scale, again);
    for (j = 0; j < hidden; j++) {
        float update = sigmoid8_of(u[j]), next = tanh_of(n[j] + sigmoid8_of(z[j]) * again[j]);
        z[j] = next + update * (h[j] - next);
    }
}
"""

PIECES = {
    "nearest": NEAREST,
    "code": CODE,
    "add8": ADD,
    "sigmoid8_of": SIGMOID,
    "linear8": LINEAR,
    "rnn8_tanh": RNN.format(f="tanh"),
    "rnn8_relu": RNN.format(f="relu"),
    "lstm8": LSTM_STEP,
    "gru8": GRU_STEP,
}


def coded_function(cell: Cell) -> str:
    """The function of a cell that can have weights of 8 bits."""
    if isinstance(cell, Elman):
        return f"rnn8_{cell.nonlinearity}"
    return "gru8" if isinstance(cell, GRU) else "lstm8"


def packed_codes(cell: Cell, w: dict[str, Host]) -> tuple[list[Host], list[Host]]:
    """The codes and the numbers of one layer, in the order in which its function reads them."""
    return [w["weight_ih"], w["weight_hh"]], [biases(cell, w), w["scale_ih"], w["scale_hh"]]
