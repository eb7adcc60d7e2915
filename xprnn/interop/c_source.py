"""The C of each cell: functions of sizes and weights, of which :mod:`xprnn.interop.c` writes those that a model needs.

Weights lie in the order in which they are read: unit by unit, of a unit its biases, then input by input, of an input
gate by gate. A cell puts its next hidden state into m, beside the present one in h, and changes c in its place.
"""

from __future__ import annotations

import re

FILE = """\
/* {name}: {what}
 * as one file of C99: float, no library, no allocation. Written by xprnn {version}.
 *
 * At each step {inputs} in, {outputs} out; y may be x where that is the same number.
 *
 * state    {sizes.state} bytes, a struct that can be copied
 * weights  {sizes.weights} bytes of constants
 * stack    {sizes.stack} bytes of arrays during a step, and what the compiler needs for calls and counters
 * work     about {multiplications} multiplications and additions a step
 */

#ifndef {name}_DECLARED
#define {name}_DECLARED

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {name}_inputs = {inputs}, {name}_outputs = {outputs} }};

typedef struct {{
{members}
}} {name}_state;

/* The state to begin with. */
void {name}_init({name}_state *s);

/* Zeros, as if nothing had been heard. */
void {name}_reset({name}_state *s);

/* One step: x[inputs] to y[outputs]. */
void {name}_step({name}_state *s, const float *x, float *y);

/* Several: x[steps][inputs] to y[steps][outputs]. */
void {name}_block({name}_state *s, const float *x, float *y, int steps);

#ifdef __cplusplus
}}
#endif

#endif

#ifndef {name}_DECLARATIONS_ONLY

{constants}
{functions}
void {name}_reset({name}_state *s)
{{
{zeros}
}}

void {name}_init({name}_state *s)
{{
{beginning}
}}

void {name}_step({name}_state *s, const float *x, float *y)
{{
{body}
}}

void {name}_block({name}_state *s, const float *x, float *y, int steps)
{{
    for (; steps > 0; steps--, x += {inputs}, y += {outputs})
        {name}_step(s, x, y);
}}

#ifdef {name}_TEST

#include <stdio.h>

{test_x}

{test_y}

int main(void)
{{
    static float y[{steps} * {outputs}];
    {name}_state s;
    float largest = 0.0f, worst = 0.0f, unit;
    int k, wrong = 0;
    {name}_init(&s);
    {name}_block(&s, test_x, y, {steps});
    for (k = 0; k < {steps} * {outputs}; k++) {{
        float size = test_y[k] < 0.0f ? -test_y[k] : test_y[k];
        largest = size > largest ? size : largest;
    }}
    unit = largest > 1e-30f ? largest * 1.1920929e-7f : 1e-37f;
    for (k = 0; k < {steps} * {outputs}; k++) {{
        float off = (y[k] - test_y[k]) / unit;
        off = off < 0.0f ? -off : off;
        worst = off > worst ? off : worst;
        wrong += !(off <= {allowed}.0f);
    }}
    printf("{name}: at most %.1f ulp of the largest output off, {allowed} allowed: %s\\n", (double)worst,
           wrong ? "WRONG" : "right");
    return wrong != 0;
}}

#endif

#endif
"""

ADD = """
/* z += W x, of the gates of one unit; returns where its weights go on. */
static const float *add(const float *w, int gates, const float *x, int count, float *z)
{
    int k, g;
    for (k = 0; k < count; k++)
        for (g = 0; g < gates; g++)
            z[g] += *w++ * x[k];
    return w;
}
"""

START = """
static const float *start(const float *w, int gates, float *z)
{
    int g;
    for (g = 0; g < gates; g++)
        z[g] = *w++;
    return w;
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

# The rational approximation that the compiled kernels of xprnn use.
TANH = """
/* At most 5 ulp off; NaN passes. */
static float tanh_of(float x)
{
    float s = x * x, p, q, y;
    p = -2.76076847742355e-16f;
    p = p * s + 2.00018790482477e-13f;
    p = p * s - 8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    q = 1.19825839466702e-06f;
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    y = x * (p / q);
    if (y < -1.0f || x < -9.011f)
        y = -1.0f;
    return y > 1.0f || x > 9.011f ? 1.0f : y;
}
"""

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
    int j;
    for (j = 0; j < outputs; j++) {
        w = start(w, 1, y + j);
        w = add(w, 1, x, inputs, y + j);
    }
}
"""

PROJECT = """
/* h = W m: an LSTM's hidden state, projected. */
static void project(const float *w, int hidden, int width, const float *m, float *h)
{
    int j;
    for (j = 0; j < width; j++) {
        h[j] = 0.0f;
        w = add(w, 1, m, hidden, h + j);
    }
}
"""

RNN = """
static void rnn_{f}(const float *w, int inputs, int hidden, const float *x, const float *h, float *m)
{{
    int j;
    for (j = 0; j < hidden; j++) {{
        float z;
        w = start(w, 1, &z);
        w = add(w, 1, x, inputs, &z);
        w = add(w, 1, h, hidden, &z);
        m[j] = {f}_of(z);
    }}
}}
"""

INDRNN = """
/* Each unit sees its own state alone. */
static void indrnn_{f}(const float *w, int inputs, int hidden, const float *x, const float *h, float *m)
{{
    int j;
    for (j = 0; j < hidden; j++) {{
        float z;
        w = start(w, 1, &z);
        w = add(w, 1, x, inputs, &z);
        w = add(w, 1, h + j, 1, &z);
        m[j] = {f}_of(z);
    }}
}}
"""

LSTM = """
/* Gates i, f, g, o. */
static void lstm(const float *w, int inputs, int hidden, int width, const float *x, const float *h, float *c, float *m)
{
    int j;
    for (j = 0; j < hidden; j++) {
        float z[4];
        w = start(w, 4, z);
        w = add(w, 4, x, inputs, z);
        w = add(w, 4, h, width, z);
        c[j] = sigmoid_of(z[1]) * c[j] + sigmoid_of(z[0]) * tanh_of(z[2]);
        m[j] = sigmoid_of(z[3]) * tanh_of(c[j]);
    }
}
"""

LSTM_PEEPHOLE = """
/* Gates i, f, g, o; i and f see their own cell as it was, o as it is. */
static void lstm_peephole(const float *w, int inputs, int hidden, int width, const float *x, const float *h, float *c,
                          float *m)
{
    int j;
    for (j = 0; j < hidden; j++) {
        float z[4];
        w = start(w, 4, z);
        w = add(w, 4, x, inputs, z);
        w = add(w, 4, h, width, z);
        w = add(w, 2, c + j, 1, z);
        c[j] = sigmoid_of(z[1]) * c[j] + sigmoid_of(z[0]) * tanh_of(z[2]);
        w = add(w, 1, c + j, 1, z + 3);
        m[j] = sigmoid_of(z[3]) * tanh_of(c[j]);
    }
}
"""

LSTM_PEEPHOLE_FULL = """
/* Gates i, f, g, o; i and f see all cells as they were, o as they are. */
static void lstm_peephole_full(const float *w, int inputs, int hidden, int width, const float *x, const float *h,
                               float *c, float *m)
{
    float next[WIDEST];
    int j;
    for (j = 0; j < hidden; j++) {
        float z[4];
        w = start(w, 4, z);
        w = add(w, 4, x, inputs, z);
        w = add(w, 4, h, width, z);
        w = add(w, 2, c, hidden, z);
        next[j] = sigmoid_of(z[1]) * c[j] + sigmoid_of(z[0]) * tanh_of(z[2]);
        m[j] = z[3];
    }
    copy(next, hidden, c);
    for (j = 0; j < hidden; j++) {
        w = add(w, 1, c, hidden, m + j);
        m[j] = sigmoid_of(m[j]) * tanh_of(c[j]);
    }
}
"""

GRU = """
/* Gates r, z, n; r multiplies the product with h. */
static void gru(const float *w, int inputs, int hidden, const float *x, const float *h, float *m)
{
    int j;
    for (j = 0; j < hidden; j++) {
        float a[3], b[3] = {0.0f, 0.0f, 0.0f}, update, next;
        w = start(w, 3, a);
        w = add(w, 3, x, inputs, a);
        w = start(w, 1, b + 2);
        w = add(w, 3, h, hidden, b);
        update = sigmoid_of(a[1] + b[1]);
        next = tanh_of(a[2] + sigmoid_of(a[0] + b[0]) * b[2]);
        m[j] = (1.0f - update) * next + update * h[j];
    }
}
"""

GRU_RESET_BEFORE = """
/* Gates r, z, n; r multiplies h before the product. */
static void gru_reset_before(const float *w, int inputs, int hidden, const float *x, const float *h, float *m)
{
    float kept[WIDEST];
    int j;
    for (j = 0; j < hidden; j++) {
        float z[2];
        w = start(w, 2, z);
        w = add(w, 2, x, inputs, z);
        w = add(w, 2, h, hidden, z);
        kept[j] = sigmoid_of(z[0]) * h[j];
        m[j] = sigmoid_of(z[1]);
    }
    for (j = 0; j < hidden; j++) {
        float z;
        w = start(w, 1, &z);
        w = add(w, 1, x, inputs, &z);
        w = add(w, 1, kept, hidden, &z);
        m[j] = (1.0f - m[j]) * tanh_of(z) + m[j] * h[j];
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
    "start": START,
    "add": ADD,
    "copy": COPY,
    "clear": CLEAR,
    "linear": LINEAR,
    "project": PROJECT,
    "lstm": LSTM,
    "lstm_peephole": LSTM_PEEPHOLE,
    "lstm_peephole_full": LSTM_PEEPHOLE_FULL,
    "gru": GRU,
    "gru_reset_before": GRU_RESET_BEFORE,
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
