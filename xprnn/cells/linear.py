"""What a linear cell is: a recurrence whose coefficients are made of the input alone, so no step waits for another.

Shapes as in :mod:`xprnn.cells.cell`; S is the width of the state that recurs, Z that of zx. Everything below takes one
step, (B, ...), or all of them, (T, B, ...), and arrays or Tensors.
"""

from __future__ import annotations

import reprlib
from abc import abstractmethod

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Cell, Product, Saved, State, Weights, merged, sigmoid
from xprnn.cells.returned import returned


class LinearCell(Cell):
    """c' = a c + b, element by element, where a and b depend on the input only.

    The engine then scans over time instead of walking: all coefficients at once, and one pass. A cell is written by
    giving them; without ``coefficients_vjp`` the tape finds their way back:

    >>> class Decay(LinearCell):
    ...     "h' = f h + (1 - f) v, with f = sigmoid(zx_f) and v = zx_v."
    ...
    ...     gate_names = ("f", "v")
    ...
    ...     def coefficients(self, w, zx):
    ...         f, v = sigmoid(zx[..., : zx.shape[-1] // 2]), zx[..., zx.shape[-1] // 2 :]
    ...         return f, (1.0 - f) * v
    >>> layer = nn.RecurrentLayer(Decay(), 3, 8)  # doctest: +SKIP

    ``state_names`` is ("h",), and c is h; or ("h", "c"), and h is what :meth:`output` makes of c. zx is x weight_ih^T +
    bias_ih, followed by x itself where :meth:`sees_x`. Computed by array operations of ``namespace(zx)``, so that
    Tensors may come as well.
    """

    linear = True

    pairs: bool = False
    """Whether c, a and b are complex: all real parts first, then all imaginary ones."""

    late: bool = False
    """Whether the second half of zx acts one step later, added to the first; it is the last part of the state then."""

    def weight_shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().weight_shapes(input_size, hidden_size)
        return {name: shapes[name] for name in ("weight_ih", "bias_ih")}

    @abstractmethod
    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        """a and b, (..., S) each, or a shape that broadcasts to it: (S,) where one is the same at all steps."""

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        """From the cotangents of a and b, in their shapes: dzx, and the gradients of weights that they are made of."""
        raise NotImplementedError

    def output(self, w: Weights, c: Array, zx: Array) -> Array:
        """h, for a cell whose state has a part c beside it."""
        raise NotImplementedError

    def output_vjp(self, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        """From the cotangent of h: dc, dzx, and the gradients of weights that h is made of."""
        raise NotImplementedError

    def output_by(self, times: Product, w: Weights, c: Array, zx: Array) -> Array:
        """:meth:`output`, for cells that have a product of matrices in it: by a function that multiplies two."""
        return self.output(w, c, zx)

    def output_vjp_by(self, times: Product, w: Weights, c: Array, zx: Array, dh: Array) -> tuple[Array, Array, Weights]:
        """:meth:`output_vjp`, likewise."""
        return self.output_vjp(w, c, zx, dh)

    def joined(self, from_output: Array, from_coefficients: Array) -> Array:
        """dzx, from what both ways back found of it."""
        return from_output + from_coefficients

    @property
    def place(self) -> int:
        """Which part of the state c is."""
        return len(self.state_names) - 1 - self.late

    def checked(self, w: Weights, zx: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """The coefficients. Raises ValueError where they do not broadcast to the shape of c, TypeError for a dtype."""
        found = self.coefficients(w, zx)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"{self.name}: coefficients returned {reprlib.repr(found)}; expected a pair (a, b)")
        for name, part in zip("ab", found, strict=True):
            returned(self, f"coefficients returned {name}", part, shape, zx, broadcast=True)
        return found

    def step(self, w: Weights, zx: Array, state: State) -> tuple[State, Saved]:
        z, last = split_late(zx, state[-1]) if self.late else (zx, ())
        c = state[self.place]
        a, b = self.checked(w, z, (1, *c.shape))  # as all of a sequence of one step
        new = like_state(product(self.pairs, a, c) + b, c)
        if not self.place:
            return (new, *last), (z, a, b)
        h = returned(self, "output returned h", self.output(w, new, z), tuple(state[0].shape), zx)
        return (h, new, *last), (z, a, b)

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        z, a, b = saved
        before, after, dc = state[self.place], new_state[self.place], dstate[self.place]
        if self.place:
            from_h, from_output, _ = self.output_vjp(w, after, z, dstate[0])
            dc = dc + from_h
        dz = self.back(w, z, (a, b), before, dc)[0]
        dz = self.joined(from_output, dz) if self.place else dz
        dbefore = like_state(product(self.pairs, conjugate(self.pairs, a), dc), before)
        dbefore = namespace(dc).broadcast_to(dbefore, before.shape)
        dstart = (*(namespace(dc).zeros_like(part) for part in dstate[: self.place]), dbefore)
        if not self.late:
            return dz, dstart, (z, dc, *dstate[: self.place])
        return namespace(dz).concat([dz, dstate[-1]], axis=-1), (*dstart, dz), (z, dc, *dstate[: self.place])

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        z, dc, *dh = terms
        _, found = self.back(w, z, self.coefficients(w, z), states[self.place], dc)
        return found if not dh else merged(found, self.output_vjp(w, new_states[self.place], z, dh[0])[2])

    def back(
        self, w: Weights, z: Array, coefficients: tuple[Array, Array], before: Array, dc: Array
    ) -> tuple[Array, Weights]:
        """What :meth:`coefficients_vjp` makes of the complete cotangent of c' and the state before it."""
        a, b = coefficients
        da = product(self.pairs, conjugate(self.pairs, before), dc)
        return self.coefficients_vjp(w, z, summed_to(tuple(a.shape), da), summed_to(tuple(b.shape), dc))


def like_state(part: Array, state: Array) -> Array:
    """What coefficients with an axis for time made of a state, without it."""
    return part[0, ...] if part.ndim > state.ndim else part


def split_late(zx: Array, before: Array) -> tuple[Array, State]:
    """z of now, from the first half of zx and what the second half was one step before; and that half, to be kept."""
    half = zx.shape[-1] // 2
    return zx[..., :half] + before, (zx[..., half:],)


def product(pairs: bool, a: Array, c: Array) -> Array:
    """a c, as complex numbers where they are pairs."""
    if not pairs:
        return a * c
    (ar, ai), (cr, ci) = halves(a), halves(c)
    return namespace(c).concat([ar * cr - ai * ci, ar * ci + ai * cr], axis=-1)


def conjugate(pairs: bool, a: Array) -> Array:
    """The conjugate, of pairs; a real number is its own."""
    if not pairs:
        return a
    real, imaginary = halves(a)
    return namespace(a).concat([real, -imaginary], axis=-1)


def halves(a: Array) -> tuple[Array, Array]:
    """Both halves of the last axis: of pairs, the real and the imaginary parts."""
    half = a.shape[-1] // 2
    return a[..., :half], a[..., half:]


def summed_to(shape: tuple[int, ...], d: Array) -> Array:
    """A cotangent summed over the axes along which what it is of, of that shape, was broadcast."""
    xp, lead = namespace(d), len(d.shape) - len(shape)
    if lead < 0:  # of one step, for which there is an axis
        return xp.expand_dims(summed_to(shape[1:], d), axis=0)
    d = xp.sum(d, axis=tuple(range(lead))) if lead else d
    axes = tuple(k for k, (n, m) in enumerate(zip(shape, d.shape, strict=True)) if n == 1 and m != 1)
    return xp.sum(d, axis=axes, keepdims=True) if axes else d


def positive(v: Array) -> Array:
    """g of Feng et al. 2024: v + 1/2 for v >= 0, else sigmoid(v); never negative, so that it has a logarithm."""
    return namespace(v).where(v >= 0.0, v + 0.5, sigmoid(v))


def positive_back(v: Array, dg: Array) -> Array:
    """dv from the cotangent of g."""
    s = sigmoid(v)
    return namespace(v).where(v >= 0.0, dg, dg * s * (1.0 - s))
