"""Jacobians of steps: how the state after a step depends on the state before it."""

from __future__ import annotations

import numpy as np

from xprnn.backend import Array, backend_of, dtype_name, namespace, to_numpy
from xprnn.diagnose.watch import Taken, Walk
from xprnn.grad_mode import set_grad_enabled
from xprnn.tape import gradients_in
from xprnn.tensor import Tensor

Host = np.ndarray


def step_jacobians(taken: Taken, sequences: int) -> Host:
    """d(after)/d(before) of the first sequences, (B, S, S) in float64 on the host; S is the width of the whole state.

    Exact: every sequence is repeated S times, and one walk back from the S unit vectors gives all rows at once.
    """
    sizes = [int(part.shape[-1]) for part in taken.before]
    width, home = sum(sizes), backend_of(taken.input)
    if sequences == 0 or width == 0:
        return np.zeros((sequences, width, width))

    def repeated(a: Array) -> Array:
        return namespace(a).repeat(a[:sequences, ...], width, axis=0)

    with set_grad_enabled(True):
        before = tuple(Tensor(repeated(part), requires_grad=True) for part in taken.before)
        after = taken.step(Tensor(repeated(taken.input)), before)
    units = np.tile(np.eye(width), (sequences, 1))
    cotangents = [home.asarray(c, dtype_name(taken.input)) for c in np.split(units, np.cumsum(sizes)[:-1], axis=1)]
    flows = [(y, c) for y, c in zip(after, cotangents, strict=True) if isinstance(y, Tensor) and y.requires_grad]
    found = gradients_in([y for y, _ in flows], before, [c for _, c in flows])
    rows = [np.zeros(b.shape) if g is None else to_numpy(g.data) for g, b in zip(found, before, strict=True)]
    jacobians = np.concatenate(rows, axis=1).astype(np.float64).reshape(sequences, width, width)
    for part in taken.after:  # a relu's rule makes a finite gradient of NaN
        jacobians[np.isnan(to_numpy(part)[:sequences]).any(axis=-1)] = np.nan
    return jacobians


def jacobian_norms(walk: Walk, sequences: int) -> tuple[Host, Host]:
    """For every time t: the spectral norms of ds_t/ds_before and of ds_last/ds_t, (T,) each.

    The largest over the first sequences. Where a state is held its step is the identity; after a reset it is zero.
    """
    steps, products = np.zeros((2, len(walk.taken)))
    product: Host | None = None
    advance, restart = (
        None if f is None else to_numpy(f)[..., :1] for f in (walk.control.advance, walk.control.restart)
    )
    for t in reversed(walk.times):
        taken = walk.taken[t]
        jacobian = step_jacobians(taken, min(sequences, int(taken.input.shape[0])))
        identity = np.broadcast_to(np.eye(jacobian.shape[-1]), jacobian.shape)
        if advance is not None:
            jacobian = np.where(advance[t, : len(jacobian)][..., None], jacobian, identity)
        if restart is not None:
            jacobian = np.where(restart[t, : len(jacobian)][..., None], 0.0, jacobian)
        product = identity if product is None else product
        steps[t], products[t] = _spectral_norm(jacobian), _spectral_norm(product)
        product = product @ jacobian
    return steps, products


def _spectral_norm(matrices: Host) -> float:
    """The largest singular value of a stack of matrices; NaN where one holds NaN, else infinity where one does."""
    if matrices.size == 0:
        return 0.0
    if not np.isfinite(matrices).all():
        return float(np.abs(matrices).max())
    return float(np.linalg.norm(matrices, 2, axis=(-2, -1)).max())
