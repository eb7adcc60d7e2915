"""The equations of the cells for one unit, forward and back: one source for the host, the GPU and its simulator.

These are plain functions of numbers. :func:`build` passes each to a compiler: Numba's ``njit`` for the host, with
``inline="always"``: a row of float64 takes twenty times as long where it only may inline, since it then gives up
vectorising. cuda/translate.py makes CUDA C++ of their text for a GPU; its simulator runs them as they are. z are
pre-activations; d before a name is the cotangent of what it names; c and h are the states before a step where a new one
is beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# An integer of 8 bits takes the floating-point type of what it meets; a plain 1 would make float64 of float32.
ZERO, ONE, TWO = np.int8(0), np.int8(1), np.int8(2)

# Rational minimax approximation of tanh in float32, x P(x^2) / Q(x^2), both of degree 4, from the highest coefficient;
# Q's is 1, and left out. Beyond END32 the ratio stays what it is there, and cut to 1 its product with x is soon right.
P32 = tuple(
    np.float32(p)
    for p in (0.01758868247270584, 26.009628295898438, 4308.5751953125, 163256.828125, 1216556.875)
)  # fmt: skip
Q32 = tuple(np.float32(q) for q in (408.93603515625, 31693.046875, 568775.75, 1216556.875))
END32 = np.float32(8.4)
# The same of tanh(x / 2) / 2; powers of two round nothing.
SIGMOID_P32 = tuple(p * np.float32(4.0) ** (k - 1) for k, p in enumerate(P32))
SIGMOID_Q32 = tuple(q * np.float32(4.0) ** (k + 1) for k, q in enumerate(Q32))
SIGMOID_END32 = END32 * np.float32(2.0)


class Cells(NamedTuple):
    """Compiled functions, by the names of the equations below."""

    sigmoid: Any
    tanh: Any
    tanh_back: Any
    relu: Any
    relu_back: Any
    lstm_state: Any
    lstm_output: Any
    lstm_output_back: Any
    lstm_input_back: Any
    lstm_forget_back: Any
    lstm: Any
    lstm_back: Any
    peephole: Any
    peephole_back: Any
    gru_candidate: Any
    gru_update: Any
    gru_update_back: Any
    gru_candidate_back: Any
    gru: Any
    gru_back: Any
    mgu_update: Any
    mgu_update_back: Any
    opened: Any
    opened_back: Any


class Exponential(NamedTuple):
    """The same of what has exponential gates."""

    log_forget: Any
    slstm_scale: Any
    mix: Any
    slstm_output: Any
    slstm_output_back: Any
    slstm_gates_back: Any
    slstm_scale_back: Any


def build(compiled: Callable[[Any], Any], tanh: Any, faster_sigmoid: Any = None) -> Cells:
    """All functions, each passed through ``compiled``, on top of a hyperbolic tangent that compiled code can call.

    A ``faster_sigmoid`` than that of this tangent takes its place.
    """

    @compiled
    def sigmoid(z):
        return (tanh(z / TWO) + ONE) / TWO  # cannot overflow

    sigmoid = faster_sigmoid or sigmoid

    # --- Elman: h = f(z) --------------------------------------------------------------------------------------------

    @compiled
    def tanh_back(h, dh):
        return dh * (ONE - h * h)

    @compiled
    def relu(z):
        return ZERO if z <= ZERO else z  # written so that NaN passes

    @compiled
    def relu_back(h, dh):
        return ZERO if h <= ZERO else dh

    # --- LSTM: c' = f c + i g,  h' = o tanh(c'), in parts: a peephole of o sees c', and loops over few arrays vectorise

    @compiled
    def lstm_state(zi, zf, zg, c):
        """i, f, g and c'."""
        i, f, g = sigmoid(zi), sigmoid(zf), tanh(zg)
        return i, f, g, f * c + i * g

    @compiled
    def lstm_output(zo, c_new):
        """o and h'."""
        o = sigmoid(zo)
        return o, o * tanh(c_new)

    @compiled
    def lstm_output_back(o, c_new, dh):
        """dzo, and the part of dc' that comes from h'."""
        t = tanh(c_new)
        return dh * t * o * (ONE - o), dh * o * (ONE - t * t)

    @compiled
    def lstm_input_back(i, g, dc_new):
        """dzi and dzg."""
        return dc_new * g * i * (ONE - i), dc_new * i * (ONE - g * g)

    @compiled
    def lstm_forget_back(f, c, dc_new):
        """dzf and dc."""
        return dc_new * c * f * (ONE - f), dc_new * f

    @compiled
    def lstm(zi, zf, zg, zo, c):
        """i, f, g, o, c' and h'."""
        i, f, g, c_new = lstm_state(zi, zf, zg, c)
        o, h_new = lstm_output(zo, c_new)
        return i, f, g, o, c_new, h_new

    @compiled
    def lstm_back(i, f, g, o, c, c_new, dh, dc_new):
        """dzi, dzf, dzg, dzo and dc."""
        dzo, from_h = lstm_output_back(o, c_new, dh)
        dzi, dzg = lstm_input_back(i, g, dc_new + from_h)
        dzf, dc = lstm_forget_back(f, c, dc_new + from_h)
        return dzi, dzf, dzg, dzo, dc

    # --- LSTM with diagonal peepholes: pi c is added to zi, pf c to zf, po c' to zo --------------------------------

    @compiled
    def peephole(zi, zf, zg, zo, c, pi, pf, po):
        """i, f, g, o, c' and h'."""
        i, f, g, c_new = lstm_state(zi + pi * c, zf + pf * c, zg, c)
        o, h_new = lstm_output(zo + po * c_new, c_new)
        return i, f, g, o, c_new, h_new

    @compiled
    def peephole_back(i, f, g, o, c, c_new, dh, dc_new, pi, pf, po):
        """dzi, dzf, dzg, dzo and dc."""
        dzo, from_h = lstm_output_back(o, c_new, dh)
        whole = dc_new + from_h + dzo * po
        dzi, dzg = lstm_input_back(i, g, whole)
        dzf, dc = lstm_forget_back(f, c, whole)
        return dzi, dzf, dzg, dzo, dc + dzi * pi + dzf * pf

    # --- GRU, reset after the product: n = tanh(x_n + r m), with m the product of h for n;  h' = (1 - z) n + z h ---

    @compiled
    def gru_candidate(zr, xn, m):
        """r and n."""
        r = sigmoid(zr)
        return r, tanh(xn + r * m)

    @compiled
    def gru_update(zz, n, h):
        """z and h'."""
        z = sigmoid(zz)
        return z, n + z * (h - n)

    @compiled
    def gru_update_back(z, n, h, dh):
        """dzz, dx_n, and dh but for what comes through products."""
        return dh * (h - n) * z * (ONE - z), dh * (ONE - z) * (ONE - n * n), dh * z

    @compiled
    def gru_candidate_back(r, m, dxn):
        """dzr and dm."""
        return dxn * m * r * (ONE - r), dxn * r

    @compiled
    def gru(zr, zz, xn, m, h):
        """r, z, n and h'."""
        r, n = gru_candidate(zr, xn, m)
        z, h_new = gru_update(zz, n, h)
        return r, z, n, h_new

    @compiled
    def gru_back(r, z, n, m, h, dh):
        """dzr, dzz, dx_n, dm, and dh but for what comes through the product."""
        dzz, dxn, through = gru_update_back(z, n, h, dh)
        dzr, dm = gru_candidate_back(r, m, dxn)
        return dzr, dzz, dxn, dm, through

    # --- MGU: n = tanh(x_n + the product with f h);  h' = (1 - f) h + f n ---------------------------------------------

    @compiled
    def mgu_update(f, n, h):
        """h'."""
        return h + f * (n - h)

    @compiled
    def mgu_update_back(f, n, h, dh):
        """The part of dzf that comes from here, dx_n, and dh but for what comes through products."""
        return dh * (n - h) * f * (ONE - f), dh * f * (ONE - n * n), dh * (ONE - f)

    # --- Gated antisymmetric: z and n see the same product m of h;  h' = h + rate z n ------------------------------

    @compiled
    def opened(xz, xn, m):
        """z and n."""
        return sigmoid(xz + m), tanh(xn + m)

    @compiled
    def opened_back(z, n, d):
        """dx_z and dx_n, whose sum is dm, from rate dh."""
        return d * n * z * (ONE - z), d * z * (ONE - n * n)

    return Cells(**{name: function for name, function in locals().items() if name in Cells._fields})


def build_exponential(compiled: Callable[[Any], Any], exp: Any, log1p: Any) -> Exponential:
    """All functions of exponential gates, on top of e^x, and of log(1 + x) for x from 0 to 1.

    sLSTM: a = log sigmoid(zf) + m, or zi where n = 0;  m' = max(a, zi);  i = e^(zi - m');  f = e^(a - m');
    c' = f c + i g;  n' = max(f n + i, 1);  h' = o c' / n'.
    """

    @compiled
    def log_forget(z):
        """log sigmoid(z), and its slope sigmoid(-z)."""
        e = exp(-abs(z))
        return (z if z < ZERO else ZERO) - log1p(e), (ONE if z < ZERO else e) / (ONE + e)

    @compiled
    def slstm_scale(a, zi, n):
        """a where n is not 0, and m'."""
        a = zi if n == ZERO else a
        high = zi if a <= zi else a
        return a, (zi if zi != zi else high)  # NaN where one is

    @compiled
    def mix(i, f, g, old):
        """f old + i g."""
        return f * old + i * g

    @compiled
    def slstm_output(o, c, n):
        """h'."""
        return o * c / n

    @compiled
    def slstm_output_back(o, h, n, dh, dn):
        """dzo, dn of f n + i, and the part of dc' that comes from h'."""
        return dh * h * (ONE - o), (dn - dh * h / n if n > ONE else ZERO), dh * o / n

    @compiled
    def slstm_gates_back(i, f, g, c, n, dc, dn):
        """da and dzi but for what comes through m'."""
        return (dc * c + dn * n) * f, (dc * g + dn) * i

    @compiled
    def slstm_scale_back(i, n, da, dzi, dm):
        """The whole of dm, which is that of the logarithm of the forget gate too, and of dzi."""
        rest = dm - da - dzi
        da, dzi = (da if i >= ONE else da + rest), (dzi + rest if i >= ONE else dzi)
        return (ZERO if n == ZERO else da), (dzi + da if n == ZERO else dzi)

    return Exponential(**{name: function for name, function in locals().items() if name in Exponential._fields})
