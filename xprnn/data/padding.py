"""Padding: sequences of different lengths as one array, the mask of what is real in it, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from xprnn.arguments import size, true_or_false
from xprnn.backend import Array, backend_of, default_backend, dtype_name, namespace, to_numpy
from xprnn.postponed import within
from xprnn.tensor import Tensor

KINDS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def pad_sequences(
    sequences: Iterable[Any],
    value: float = 0,
    length: int | None = None,
    batch_first: bool = False,
    dtype: str | None = None,
    side: str = "right",
) -> tuple[Array, Array]:
    """Put sequences side by side, each filled up at its end or, with ``side="left"``, before its beginning.

    >>> padded, lengths = pad_sequences([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    >>> padded.T.tolist(), lengths.tolist()
    ([[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 9]], [3, 2, 4])

    What is padded on the left ends with all sequences at once, so that the last step is everyone's last; layers take it
    with ``mask=lengths_to_mask(lengths, side="left")``, through which the state before the first step holds.

    Parameters
    ----------
    sequences
        Arrays (T_b, ...) of one library, or lists, which become arrays of the default backend. The axes after the first
        are the same in all; a sequence may be empty, and then be a plain ``[]``.
    value
        What stands in place of the missing steps. The dtype must be able to hold it.
    length
        T; by default that of the longest sequence. Nothing is cut off: a longer sequence is an error.
    dtype
        By name; default: the common one of the sequences.
    side
        "right" or "left", where the padding is.

    Returns
    -------
    padded, lengths
        Arrays (T, B, ...), or (B, T, ...) with ``batch_first``, and (B,) int64, in the sequences' library.

    Raises
    ------
    TypeError, ValueError
        There is no sequence; one has another type, other axes or is too long, with its number; the dtype cannot hold
        the value, or is one of integers that cannot hold a sequence; another side.
    """
    owner = "pad_sequences"
    left, batch_first = is_left(owner, side), true_or_false(owner, "batch_first", batch_first)
    arrays = alike(owner, sequences, dtype)
    lengths = [int(array.shape[0]) for array in arrays]
    steps = max(lengths) if length is None else size(owner, "length", length, 0)
    if max(lengths) > steps:
        k = next(k for k, n in enumerate(lengths) if n > steps)
        raise ValueError(
            f"{owner}: sequence {k} has {lengths[k]} steps; expected at most length = {steps}: cut it first"
        )
    padded = side_by_side(arrays, steps, held(owner, value, dtype_name(arrays[0])), batch_first, left)
    return padded, backend_of(padded).asarray(lengths, "int64")


def lengths_to_mask(lengths: Any, steps: int | None = None, batch_first: bool = False, side: str = "right") -> Array:
    """True on the real steps of each sequence: mask[t, b] = t < lengths[b], or t >= T - lengths[b] for ``side="left"``.

    lengths (B,) integers from 0 to T, of any backend or a list; the mask (T, B) bool, or (B, T) with ``batch_first``,
    is made beside them. T is ``steps``, or the largest length, which a GPU must be waited for. Raises TypeError and
    ValueError for anything else.
    """
    owner = "lengths_to_mask"
    left, batch_first = is_left(owner, side), true_or_false(owner, "batch_first", batch_first)
    if steps is None:
        lengths, numbers = _known_lengths(owner, lengths)
        steps = size(owner, "the largest of lengths", max(numbers, default=0), 0)
    else:
        steps = size(owner, "steps", steps, 0)

        def outside(number: int) -> ValueError:
            expected = "at least 0" if number < 0 else f"values from 0 to steps = {steps}"
            return ValueError(f"{owner}: lengths contains {number}; expected {expected}")

        lengths = within(_lengths(owner, lengths), steps + 1, outside)
    xp, step = namespace(lengths), backend_of(lengths).arange(steps)
    step, lengths = xp.expand_dims(step, axis=1 - batch_first), xp.expand_dims(lengths, axis=int(batch_first))
    return step >= steps - lengths if left else step < lengths


def unpad(padded: Any, lengths: Any, batch_first: bool = False, side: str = "right") -> list[Any]:
    """The sequences that were padded, (T_b, ...) each; of a Tensor, Tensors through which gradients flow back.

    padded (T, B, ...), or (B, T, ...) with ``batch_first``, on the "right" or "left" ``side``; lengths (B,). Raises
    TypeError and ValueError.
    """
    left, batch_first = is_left("unpad", side), true_or_false("unpad", "batch_first", batch_first)
    if not hasattr(padded, "shape") or len(padded.shape) < 2:
        what = f"shape {tuple(padded.shape)}" if hasattr(padded, "shape") else f"type {type(padded).__name__}"
        raise ValueError(f"unpad: padded has {what}; expected an array with axes for steps and sequences")
    _, numbers = _known_lengths("unpad", lengths)
    steps, batch = padded.shape[:2][::-1] if batch_first else padded.shape[:2]
    if len(numbers) != batch:
        raise ValueError(f"unpad: lengths has shape ({len(numbers)},); expected (B,) = ({batch},)")
    if max(numbers, default=0) > steps:
        raise ValueError(f"unpad: lengths contains {max(numbers)}; expected values from 0 to T = {steps}")
    parts = [slice(steps - n, steps) if left else slice(n) for n in numbers]
    return [padded[k, part, ...] if batch_first else padded[part, k, ...] for k, part in enumerate(parts)]


def alike(owner: str, sequences: Any, dtype: str | None = None) -> list[Array]:
    """Sequences as arrays (T_b, ...) of one library, one dtype and one shape after the first axis."""
    if isinstance(sequences, (str, bytes, Tensor)) or not isinstance(sequences, Iterable):
        raise TypeError(f"{owner}: sequences is a {type(sequences).__name__}; expected a list of arrays or of lists")
    arrays = [_sequence(owner, k, sequence) for k, sequence in enumerate(sequences)]
    if not arrays:
        raise ValueError(f"{owner}: sequences is empty; expected at least one sequence, which may itself be empty")
    full = [k for k, array in enumerate(arrays) if tuple(array.shape) != (0,)] or [0]  # a plain [] fits everywhere
    xp = namespace(**{f"{owner}: sequence {k}": arrays[k] for k in full})
    first = arrays[full[0]]
    for k in full:
        if tuple(arrays[k].shape[1:]) != tuple(first.shape[1:]):
            expected = f"({', '.join(('T', *map(str, first.shape[1:])))}), as sequence {full[0]}"
            raise ValueError(
                f"{owner}: sequence {k} has shape {tuple(arrays[k].shape)}; expected {expected}: "
                "only the first axis may differ"
            )
    name = _common_dtype(owner, [arrays[k] for k in full], xp) if dtype is None else _dtype(owner, dtype)
    nothing = backend_of(first).zeros((0, *first.shape[1:]), name)
    cast = [nothing if tuple(array.shape) == (0,) else xp.astype(array, nothing.dtype, copy=False) for array in arrays]
    for k in full if dtype is not None and not dtype.startswith("float") else []:
        if not bool(xp.all(xp.astype(cast[k], arrays[k].dtype) == arrays[k])):
            raise ValueError(f"{owner}: sequence {k} holds numbers that {dtype} cannot hold: round or scale them first")
    return cast


def is_left(owner: str, side: Any) -> bool:
    """Whether the padding is on the left. Raises ValueError for anything but "right" and "left"."""
    if not isinstance(side, str) or side not in ("right", "left"):
        raise ValueError(f"{owner}: side is {side!r}; expected 'right' or 'left'")
    return bool(side == "left")


def side_by_side(arrays: Sequence[Array], steps: int, value: Any, batch_first: bool, left: bool = False) -> Array:
    """Arrays from :func:`alike`, none longer than ``steps``, as one, with the value past their ends or before them."""
    first = arrays[0]
    axes = (len(arrays), steps) if batch_first else (steps, len(arrays))
    padded = backend_of(first).zeros((*axes, *first.shape[1:]), dtype_name(first))
    if value != 0:
        padded[...] = value
    for k, array in enumerate(arrays):
        part = slice(steps - int(array.shape[0]), steps) if left else slice(int(array.shape[0]))
        padded[(k, part, ...) if batch_first else (part, k, ...)] = array
    return padded


def held(owner: str, value: Any, dtype: str) -> Any:
    """The value as the dtype holds it, which must be the same number, but for the rounding of floats."""
    if not isinstance(value, (Real, np.bool_)):
        raise TypeError(f"{owner}: value is {value!r}; expected a number")
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            number = np.asarray(value).astype(dtype).item()
    except OverflowError:  # an integer of Python that no integer of NumPy can hold
        number = None
    rounded = number is not None and dtype.startswith("float") and np.isfinite(number) == np.isfinite(float(value))
    if number != value and not rounded:
        raise ValueError(f"{owner}: value is {value}, which {dtype} cannot hold: give a dtype that can")
    return number


def _sequence(owner: str, k: int, sequence: Any) -> Array:
    """One sequence as an array with at least one axis."""
    if isinstance(sequence, Tensor):
        raise TypeError(f"{owner}: sequence {k} is a {type(sequence).__name__}; pass its .data")
    if isinstance(sequence, (list, tuple)):
        try:
            host = np.asarray(sequence)
        except ValueError:
            raise ValueError(f"{owner}: sequence {k} is a list of parts with different lengths") from None
        if host.dtype.kind not in "biuf":
            raise TypeError(f"{owner}: sequence {k} is a list of {type(sequence[0]).__name__}; expected numbers")
        return default_backend().asarray(host)
    if not hasattr(sequence, "shape"):
        raise TypeError(f"{owner}: sequence {k} is a {type(sequence).__name__}; expected an array or a list of numbers")
    if len(sequence.shape) == 0:
        raise ValueError(f"{owner}: sequence {k} has no axes; expected (T, ...)")
    if not dtype_name(sequence).startswith(("float", "int", "uint", "bool")):
        raise TypeError(f"{owner}: sequence {k} has dtype {dtype_name(sequence)}; expected numbers")
    return sequence


def _common_dtype(owner: str, arrays: list[Array], xp: Any) -> str:
    kinds = {dtype_name(array): array.dtype for array in arrays}
    try:
        return dtype_name(xp.zeros((), dtype=xp.result_type(*kinds.values())))
    except TypeError:
        names = ", ".join(sorted(kinds))
        raise TypeError(f"{owner}: the sequences have dtypes {names}, which have no common one: give dtype") from None


def _dtype(owner: str, dtype: str) -> str:
    if not isinstance(dtype, str) or dtype not in KINDS:
        raise ValueError(f"{owner}: dtype is {dtype!r}; expected one of {', '.join(KINDS)}")
    return dtype


def _known_lengths(owner: str, lengths: Any) -> tuple[Array, list[int]]:
    """Lengths as an array, and as numbers of Python."""
    lengths = _lengths(owner, lengths)
    numbers = to_numpy(lengths).tolist()
    if min(numbers, default=0) < 0:
        raise ValueError(f"{owner}: lengths contains {min(numbers)}; expected at least 0")
    return lengths, numbers


def _lengths(owner: str, lengths: Any) -> Array:
    """Lengths as an array (B,) int64, with their numbers not yet looked at."""
    if isinstance(lengths, (list, tuple)):
        lengths = default_backend().asarray(np.asarray(lengths, dtype=None if len(lengths) else np.int64))
    if isinstance(lengths, Tensor) or not hasattr(lengths, "dtype"):
        raise TypeError(f"{owner}: lengths is a {type(lengths).__name__}; expected a list or an array of integers")
    if not dtype_name(lengths).startswith(("int", "uint")):
        raise TypeError(f"{owner}: lengths has dtype {dtype_name(lengths)}; expected integers")
    if len(lengths.shape) != 1:
        raise ValueError(f"{owner}: lengths has shape {tuple(lengths.shape)}; expected (B,)")
    return namespace(lengths).astype(lengths, namespace(lengths).int64, copy=False)
