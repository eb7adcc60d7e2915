"""Which steps of a padded batch count: lengths, mask and reset, checked once for all layers and directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.backend import Array, backend_of, dtype_name, namespace, plain, shared_namespace
from xprnn.postponed import within


@dataclass(frozen=True)
class Control:
    """What happens at each step of each sequence, as boolean arrays (T, B, 1); None where it is the same everywhere.

    Attributes
    ----------
    advance
        True where the state moves on; where False it is held and the input is not looked at.
    inside
        False where outputs are exactly zero: past the end of a sequence, and by :meth:`zero_where_held` at held steps.
    restart
        True where the state, whatever it was, is zero before the step.
    """

    advance: Array | None = None
    inside: Array | None = None
    restart: Array | None = None

    @staticmethod
    def build(
        owner: str, x: Array, lengths: Any = None, mask: Any = None, reset: Any = None, batch_first: bool = False
    ) -> Control:
        """Check the arguments of a call with x (T, B, ...) and combine them.

        Parameters
        ----------
        owner
            The layer's name, for messages.
        lengths
            (B,) integers from 0 to T. Brought to x's device. On the host (a list or NumPy array) checking is
            free; on a GPU it waits for it, where it is not postponed.
        mask
            (T, B) booleans, False where the state is held.
        reset
            (T, B) booleans, True where a new sequence begins: its first step starts from zero state.
        batch_first
            mask and reset come as (B, T); x is time-major all the same.

        Raises
        ------
        TypeError, ValueError
            Wrong type, shape or range; the message names the owner and the argument.
        """
        if lengths is None and mask is None and reset is None:
            return FREE
        steps, batch = x.shape[0], x.shape[1]
        advance = _flags(owner, "mask", mask, x, batch_first)
        restart = _flags(owner, "reset", reset, x, batch_first)
        inside = None
        if lengths is not None:
            lengths = _lengths(owner, lengths, x)
            xp = namespace(lengths)
            number = backend_of(lengths).arange(steps)
            inside = xp.reshape(xp.expand_dims(number, axis=1) < xp.expand_dims(lengths, axis=0), (steps, batch, 1))
            advance = inside if advance is None else xp.logical_and(advance, inside)
            restart = None if restart is None else xp.logical_and(restart, inside)
        return Control(advance, inside, restart)

    def shown(self, output: Any) -> Any:
        """An output, or its cotangent: exactly zero past the end. For arrays, Tensors, and None, which stays so."""
        return _zero_but(self.inside, output)

    def moving(self, values: Any) -> Any:
        """x, or a cotangent, with zeros at held steps, whatever stood there, even NaN."""
        return _zero_but(self.advance, values)

    def zero_where_held(self) -> Control:
        """The same, with outputs that are zero wherever the state is held, and not only past the end."""
        return Control(self.advance, self.advance, self.restart)

    def reversed(self) -> Control:
        """The same for a walk from the last step to the first.

        A sequence that begins at t is, walking backward, left when step t - 1 is reached: the restart moves there.
        """
        if self.restart is None or self.restart.shape[0] == 0:
            return self
        xp = namespace(self.restart)
        moved = xp.concat([self.restart[1:, ...], xp.zeros_like(self.restart[:1, ...])], axis=0)
        return Control(self.advance, self.inside, moved)


FREE = Control()
"""Every step counts, and none restarts."""


def _zero_but(flags: Array | None, values: Any) -> Any:
    if flags is None or values is None:
        return values
    xp = namespace(values)
    return xp.where(flags, values, xp.zeros_like(values))


def _on(x: Array, name: str, values: Any, owner: str) -> Array:
    """Control data on x's device: host values are brought there, anything else must be there already."""
    if isinstance(values, (list, tuple)):
        return backend_of(x).asarray(np.asarray(values))
    if isinstance(values, np.ndarray):
        return backend_of(x).asarray(plain(f"{owner}: {name}", values))
    shared_namespace(owner, ("x", name), x, values)
    return values


def booleans(owner: str, name: str, values: Any, x: Array) -> Array:
    """Flags beside x. Raises TypeError for what is no array of them, and for another library or device."""
    if not isinstance(values, (list, tuple)) and not hasattr(values, "shape"):
        raise TypeError(f"{owner}: {name} is a {type(values).__name__}; expected a list or an array of booleans")
    values = _on(x, name, values, owner)
    if dtype_name(values) != "bool":
        raise TypeError(f"{owner}: {name} has dtype {dtype_name(values)}; expected bool")
    return values


def _flags(owner: str, name: str, values: Any, x: Array, batch_first: bool) -> Array | None:
    if values is None:
        return None
    values = booleans(owner, name, values, x)
    axes, expected = ("(B, T)", (x.shape[1], x.shape[0])) if batch_first else ("(T, B)", (x.shape[0], x.shape[1]))
    if tuple(values.shape) != expected:
        raise ValueError(f"{owner}: {name} has shape {tuple(values.shape)}; expected {axes} = {expected}")
    return namespace(values).expand_dims(values.T if batch_first else values, axis=-1)


def _lengths(owner: str, values: Any, x: Array) -> Array:
    if isinstance(values, (list, tuple)):
        values = np.asarray(values, dtype=None if len(values) else np.int64)
    if not hasattr(values, "dtype"):
        raise TypeError(f"{owner}: lengths is a {type(values).__name__}; expected a list or an array of integers")
    values = plain(f"{owner}: lengths", values)
    if not dtype_name(values).startswith(("int", "uint")):
        raise TypeError(f"{owner}: lengths has dtype {dtype_name(values)}; expected integers")
    steps, batch = x.shape[0], x.shape[1]
    if tuple(values.shape) != (batch,):
        raise ValueError(f"{owner}: lengths has shape {tuple(values.shape)}; expected (B,) = ({batch},)")

    def outside(number: int) -> ValueError:
        return ValueError(f"{owner}: lengths contains {number}; expected values from 0 to T = {steps}")

    values, xp = within(values, steps + 1, outside), namespace(values)
    values = xp.astype(values, xp.int64, copy=False)  # a narrow type could not count to T
    return backend_of(x).asarray(values)
