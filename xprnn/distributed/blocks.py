"""Predictions of arrays that lie in blocks, as Dask's, a block at a time and only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn.arguments import whole_number
from xprnn.backend import Array, backend_of
from xprnn.distributed.work import alone
from xprnn.grad_mode import no_grad
from xprnn.nn.module import Module
from xprnn.tensor import Tensor


def predict_blocks(function: Callable[[Array], Any], x: Any, *, axis: int | None = None) -> Any:
    """``function`` of an array in blocks of rows, as such an array: nothing is computed before that is.

    >>> said = predict_blocks(classifier.predict_proba, dask_array)  # doctest: +SKIP
    >>> outputs = predict_blocks(lstm, dask_array)  # doctest: +SKIP

    Blocks may have different numbers of rows, and are of NumPy or CuPy: each is given to the function as it is. A row
    has the bits that the function gives it among others, and kernels keep to the thread that does a block.

    Parameters
    ----------
    function
        Of an array with some rows along ``axis`` to one with as many along the same axis, or along 0 where it has
        another number of axes: the ``predict`` of an estimator; or a layer, which runs in evaluation mode without
        recording, and whose first result is taken.
    x
        A ``dask.array.Array``, or what has its ``chunks``, ``dtype`` and ``map_blocks``.
    axis
        That of the rows: by default 1 for a layer that has time first, and else 0.

    Raises
    ------
    TypeError
        x lies in no blocks, or the function gives no array.
    ValueError
        x is cut along another axis, such as time, where a block needs what came before; or it has no such axis. Of a
        block that is computed: its rows are not as many as before.

    To learn the shape and the dtype of the result the function is called once, with one row of zeros.
    """
    if not all(hasattr(x, name) for name in ("chunks", "dtype", "map_blocks", "_meta")):
        raise TypeError(f"predict_blocks: x is a {type(x).__name__}; expected an array in blocks, as of dask.array")
    axis = _axis_of(function) if axis is None else whole_number("predict_blocks", "axis", axis, 0)
    if axis >= len(x.chunks):
        raise ValueError(f"predict_blocks: x has shape {tuple(x.shape)}; expected rows along axis {axis}")
    for k, sizes in enumerate(x.chunks):
        if k != axis and len(sizes) > 1:
            raise ValueError(
                f"predict_blocks: x is cut along axis {k} into {len(sizes)} blocks; expected whole ones, cut only "
                f"among rows, along axis {axis}: x.rechunk({{{k}: -1}})"
            )
    whole = _Block(function)
    shape = [1 if k == axis else sizes[0] for k, sizes in enumerate(x.chunks)]
    found = whole(backend_of(x._meta).xp.zeros(shape, dtype=x.dtype))
    places = (axis, 0) if found.ndim == len(shape) else (0, axis)
    at = next((k for k in places if k < found.ndim and found.shape[k] == 1), None)
    if at is None:
        raise ValueError(f"predict_blocks: of one row the function gives shape {tuple(found.shape)}; expected one row")
    others = [k for k in range(found.ndim) if k != at]
    return x.map_blocks(
        _Block(function, (axis, at)),
        dtype=found.dtype,
        meta=found[(slice(0, 0),) * found.ndim],
        drop_axis=[k for k in range(len(shape)) if k != axis],
        new_axis=others,
        chunks=tuple(x.chunks[axis] if k == at else (found.shape[k],) for k in range(found.ndim)),
    )


class _Block:
    """What is done with a block; a class of this module, so that it can be sent to other processes."""

    def __init__(self, function: Callable[[Array], Any], rows: tuple[int, int] | None = None) -> None:
        self.function, self.rows = function, rows  # along which axes they lie, before and after

    def __call__(self, block: Array) -> Array:
        found = alone(self._said, block)
        if self.rows is not None:
            before, after = self.rows
            if found.shape[after : after + 1] != block.shape[before : before + 1]:
                raise ValueError(
                    f"predict_blocks: of a block of shape {block.shape} the function gives shape {found.shape}; "
                    f"expected {block.shape[before]} rows along axis {after}"
                )
        return found

    def _said(self, block: Array) -> Array:
        if not isinstance(self.function, Module):
            return _array(self.function(block))
        with no_grad(), self.function.mode(False):
            return _array(self.function(block))


def _array(said: Any) -> Array:
    """The array of a result, or of the first of several."""
    said = said[0] if isinstance(said, tuple) else said
    array = said.data if isinstance(said, Tensor) else said
    if not hasattr(array, "ndim") or not hasattr(array, "dtype"):
        raise TypeError(f"predict_blocks: the function gives a {type(array).__name__}; expected an array")
    return array


def _axis_of(function: Any) -> int:
    """Where a layer, or any in it, has its rows."""
    inside = [module for _, module in function.named_modules()] if isinstance(function, Module) else []
    return 0 if all(getattr(module, "batch_first", True) for module in inside) else 1
