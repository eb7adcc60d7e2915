"""The C of each cell: functions of sizes and weights, of which :mod:`xprnn.interop.c` writes those that a model needs.

Weights lie in the order in which they are read: biases, then column by column, so that the innermost loop is long and
goes through memory in order. A cell has z for its gates, and puts its next hidden state into the front of it; c is
changed in its place.
"""

from __future__ import annotations

import re

from xprnn.interop.c_int8 import PIECES as CODED
from xprnn.interop.c_int8 import TANH_RATIO

ADD = """
/* z += W x, column by column; returns where the weights go on. */
static const float *add(const float *restrict w, int rows, const float *restrict x, int count, float *restrict z)
{
    int k, r;
    for (k = 0; k < count; k++, w += rows)
        for (r = 0; r < rows; r++)
            z[r] += w[r] * x[k];
    return w;
}
"""

START = """
/* z = b */
static const float *start(const float *w, int rows, float *z)
{
    copy(w, rows, z);
    return w + rows;
}
"""

COPY = """
static void copy(const float *from, int count, float *to)
{
    int k;
    for (k = 0; k < count; k++)
        to[k] = from[k];
}
"""

CLEAR = """
static void clear(float *v, int count)
{
    int k;
    for (k = 0; k < count; k++)
        v[k] = 0.0f;
}
"""

TANH = """
/* At most 7 ulp off; NaN passes. Without fused products it has the bits of the kernels of xprnn. */
static float tanh_of(float x)
{
    float s = x * x, p, q, y;
    @RATIO@
}
""".replace("@RATIO@", TANH_RATIO)

SIGMOID = """
static float sigmoid_of(float x)
{
    return 0.5f * tanh_of(0.5f * x) + 0.5f;
}
"""

RELU = """
static float relu_of(float x)
{
    return x <= 0.0f ? 0.0f : x;
}
"""

LINEAR = """
static void linear(const float *w, int inputs, int outputs, const float *x, float *y)
{
    w = start(w, outputs, y);
    add(w, outputs, x, inputs, y);
}
"""

PROJECT = """
/* h = W m: an LSTM's hidden state, projected. */
static void project(const float *w, int hidden, int width, const float *m, float *h)
{
    clear(h, width);
    add(w, width, m, hidden, h);
}
"""

RNN = """
static void rnn_{f}(const float *w, int inputs, int hidden, const float *x, const float *h, float *z)
{{
    int j;
    w = start(w, hidden, z);
    w = add(w, hidden, x, inputs, z);
    add(w, hidden, h, hidden, z);
    for (j = 0; j < hidden; j++)
        z[j] = {f}_of(z[j]);
}}
"""

INDRNN = """
/* Each unit sees its own state alone. */
static void indrnn_{f}(const float *w, int inputs, int hidden, const float *x, const float *h, float *z)
{{
    int j;
    w = start(w, hidden, z);
    w = add(w, hidden, x, inputs, z);
    for (j = 0; j < hidden; j++)
        z[j] = {f}_of(z[j] + w[j] * h[j]);
}}
"""

LSTM = """
/* Gates i, f, g, o. */
static void lstm(const float *w, int inputs, int hidden, int width, const float *x, const float *h, float *c, float *z)
{
    const float *f = z + hidden, *g = f + hidden, *o = g + hidden;
    int j;
    w = start(w, 4 * hidden, z);
    w = add(w, 4 * hidden, x, inputs, z);
    add(w, 4 * hidden, h, width, z);
    for (j = 0; j < hidden; j++) {
        c[j] = sigmoid_of(f[j]) * c[j] + sigmoid_of(z[j]) * tanh_of(g[j]);
        z[j] = sigmoid_of(o[j]) * tanh_of(c[j]);
    }
}
"""

LSTM_PEEPHOLE = """
/* Gates i, f, g, o; i and f see their own cell as it was, o as it is. */
static void lstm_peephole(const float *w, int inputs, int hidden, int width, const float *x, const float *h, float *c,
                          float *z)
{
    const float *f = z + hidden, *g = f + hidden, *o = g + hidden;
    int j;
    w = start(w, 4 * hidden, z);
    w = add(w, 4 * hidden, x, inputs, z);
    w = add(w, 4 * hidden, h, width, z);
    for (j = 0; j < hidden; j++) {
        float in = sigmoid_of(z[j] + w[j] * c[j]), keep = sigmoid_of(f[j] + w[hidden + j] * c[j]);
        c[j] = keep * c[j] + in * tanh_of(g[j]);
        z[j] = sigmoid_of(o[j] + w[2 * hidden + j] * c[j]) * tanh_of(c[j]);
    }
}
"""

LSTM_PEEPHOLE_FULL = """
/* Gates i, f, g, o; i and f see all cells as they were, o as they are. */
static void lstm_peephole_full(const float *w, int inputs, int hidden, int width, const float *x, const float *h,
                               float *c, float *z)
{
    float *f = z + hidden, *g = f + hidden, *o = g + hidden;
    int j;
    w = start(w, 4 * hidden, z);
    w = add(w, 4 * hidden, x, inputs, z);
    w = add(w, 4 * hidden, h, width, z);
    w = add(w, 2 * hidden, c, hidden, z);
    for (j = 0; j < hidden; j++)
        c[j] = sigmoid_of(f[j]) * c[j] + sigmoid_of(z[j]) * tanh_of(g[j]);
    add(w, hidden, c, hidden, o);
    for (j = 0; j < hidden; j++)
        z[j] = sigmoid_of(o[j]) * tanh_of(c[j]);
}
"""

GRU = """
/* Gates r, z, n; r multiplies the product with h, for which n has a second place. */
static void gru(const float *w, int inputs, int hidden, const float *x, const float *h, float *z)
{
    float *u = z + hidden, *n = u + hidden, *again = n + hidden;
    int j;
    w = start(w, 4 * hidden, z);
    w = add(w, 3 * hidden, x, inputs, z);
    w = add(w, 2 * hidden, h, hidden, z);
    add(w, hidden, h, hidden, again);
    for (j = 0; j < hidden; j++) {
        float update = sigmoid_of(u[j]), next = tanh_of(n[j] + sigmoid_of(z[j]) * again[j]);
        z[j] = (1.0f - update) * next + update * h[j];
    }
}
"""

GRU_RESET_BEFORE = """
/* Gates r, z, n; r multiplies h before the product. */
static void gru_reset_before(const float *w, int inputs, int hidden, const float *x, const float *h, float *z)
{
    float *u = z + hidden, *n = u + hidden;
    int j;
    w = start(w, 3 * hidden, z);
    w = add(w, 3 * hidden, x, inputs, z);
    w = add(w, 2 * hidden, h, hidden, z);
    for (j = 0; j < hidden; j++)
        z[j] = sigmoid_of(z[j]) * h[j];
    add(w, hidden, z, hidden, n);
    for (j = 0; j < hidden; j++) {
        float update = sigmoid_of(u[j]);
        z[j] = (1.0f - update) * tanh_of(n[j]) + update * h[j];
    }
}
"""

MAP = """
static void each_{f}(const float *x, int count, float *y)
{{
    int k;
    for (k = 0; k < count; k++)
        y[k] = {f}_of(x[k]);
}}
"""

PIECES = {
    "tanh_of": TANH,
    "sigmoid_of": SIGMOID,
    "relu_of": RELU,
    "copy": COPY,
    "clear": CLEAR,
    "start": START,
    "add": ADD,
    "linear": LINEAR,
    "project": PROJECT,
    "lstm": LSTM,
    "lstm_peephole": LSTM_PEEPHOLE,
    "lstm_peephole_full": LSTM_PEEPHOLE_FULL,
    "gru": GRU,
    "gru_reset_before": GRU_RESET_BEFORE,
    **CODED,
}
for _f in ("tanh", "sigmoid", "relu"):
    PIECES |= {f"rnn_{_f}": RNN.format(f=_f), f"indrnn_{_f}": INDRNN.format(f=_f), f"each_{_f}": MAP.format(f=_f)}


def functions(text: str) -> str:
    """The functions that C text calls, and those that they call, in an order in which each is known when called."""
    found: set[str] = set()
    waiting = [text]
    while waiting:
        called = {name for name in re.findall(r"\b(\w+)\(", waiting.pop()) if name in PIECES} - found
        found |= called
        waiting += [PIECES[name] for name in called]
    return "".join(piece for name, piece in PIECES.items() if name in found)
