"""How gradients flow back through time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import function, whole_number
from xprnn.backend import DTYPES, dtype_name, to_numpy
from xprnn.diagnose.jacobians import jacobian_norms
from xprnn.diagnose.watch import Host, Taken, columns, watched
from xprnn.grad_mode import set_grad_enabled
from xprnn.nn import Module
from xprnn.tape import grad
from xprnn.tensor import Tensor


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """What :func:`gradient_flow` found. Arrays (T, N) on the host: a row for each step, a column for each layer.

    N counts layers and directions, named in ``layers``: "l0", "l0_reverse", "l1", ..., behind the layer's name in the
    model and a dot. A further call of the same layer has columns of its own; one under ``no_grad`` has none. Where
    layers ran over different numbers of steps, the shorter ones end with NaN. s_t is the whole state after step t,
    (h_t, c_t) of an LSTM, else h_t.

    Attributes
    ----------
    gradient_norms
        |dL/dh_t|, of all sequences and units together.
    state_gradient_norms
        |dL/ds_t|.
    jacobian_norms
        Spectral norms of ds_t/ds_before, with s_before the state before step t: s_(t-1), s_(t+1) in the reverse
        direction, at the first step the initial state. The largest over the sequences asked for. None if not asked.
    product_norms
        Likewise of ds_last/ds_t, the product of the Jacobians of all later steps: 1 at the last step.
    """

    layers: tuple[str, ...]
    gradient_norms: Host
    state_gradient_norms: Host
    jacobian_norms: Host | None
    product_norms: Host | None

    def plot(self, ax: Any = None) -> Any:
        """Draw |dL/dh_t| against t on matplotlib axes, or on new ones, and return them (``.figure`` saves them)."""
        from xprnn.diagnose.plots import draw_flow

        return draw_flow(self, ax)


def gradient_flow(
    model: Module, x: Any, loss: Callable[[Any, Any], Tensor] | None = None, *, jacobians: int = 1
) -> GradientFlow:
    """The gradient of a loss in every state of every recurrent layer, and the Jacobians between the states.

    dL/ds_t = (dL/ds_t at fixed later states) + (ds_(t+1)/ds_t)^T dL/ds_(t+1), so gradients vanish or explode with the
    products of the Jacobians (Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063).

    Parameters
    ----------
    model
        A Module with recurrent layers in it, RNN, LSTM, GRU, any RecurrentLayer or Recurrent; may be such a layer. Runs
        in evaluation mode on the reference engine, and is afterwards as it was, ``.grad`` included.
    x
        What the model takes, or a whole batch for ``loss``.
    loss
        ``loss(model, x)``, a scalar Tensor, as for :func:`xprnn.train.fit`. Default: the sum over ``model(x)`` at the
        last step, or over all of it where the result has no axis of time: where it has not x's sizes of time and
        batch, or fewer axes than an x of floats, as a classifier's (B, C) for an x (T, B, I). Give a loss to a
        classifier of token numbers (T, B) with T == B == C, which looks like one number for each token.
    jacobians
        For how many sequences, from the first of the batch, Jacobians are computed; 0 for none. They are exact, by
        walks back from all S unit vectors of the state, and cost two S x S singular value decompositions for each
        step and sequence.

    Returns
    -------
    A :class:`GradientFlow`. Where a state is held, in padding or by a mask, no step is taken and its gradient counts
    as 0. Numbers are as the model's dtype gives them: in float32 a gradient below 1e-45 is 0. Where the loss is NaN,
    gradients are; where a state is, its Jacobian.

    Raises
    ------
    TypeError
        model is no Module; the loss is no scalar Tensor.
    ValueError
        No recurrent layer in the model, or none was called; no step in x for the default loss; what layers raise.
    """
    jacobians = whole_number("gradient_flow", "jacobians", jacobians, 0)
    if loss is not None:
        function("gradient_flow", "loss", loss)
    with watched("gradient_flow", model, recorded_only=True) as walks, set_grad_enabled(True):
        value = _last_step(model, x) if loss is None else loss(model, x)
        if not isinstance(value, Tensor) or value.size != 1:
            came = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TypeError(f"gradient_flow: loss(model, x) returned {came}; expected a scalar Tensor")
        # The watchers read on the way; the graph stays, since the caller's x may have one of its own.
        grad(value, [], retain_graph=True)
    norms = [[[_norm(step, parts) for step in walk.taken] for walk in walks] for parts in (slice(1), slice(None))]
    defined = math.nan if math.isnan(value.item()) else 1.0  # a relu's rule makes a finite gradient of NaN
    spectral = zip(*(jacobian_norms(walk, jacobians) for walk in walks), strict=True) if jacobians else (None, None)
    return GradientFlow(
        tuple(walk.name for walk in walks),
        *(defined * columns(found) for found in norms),
        *(None if found is None else columns(found) for found in spectral),
    )


def _last_step(model: Any, x: Any) -> Tensor:
    """The default loss."""
    output = model(x)
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"gradient_flow: the model returned a {type(output).__name__}, no Tensor; give a loss")
    shape = tuple(getattr(x, "shape", ()))
    # The axes of time and batch: token numbers have no others. Fewer axes than floats: (B, C), not (T, B).
    lead = shape[:-1] if shape and dtype_name(x) in DTYPES else shape
    if lead and output.ndim >= len(shape) and output.shape[: len(lead)] == lead:
        batch_first = any(getattr(part, "batch_first", False) for _, part in model.named_modules())
        axis = 1 if batch_first and len(lead) == 2 else 0
        if lead[axis] == 0:
            raise ValueError(f"gradient_flow: x has shape {shape}, without a step; give a loss that does not need one")
        output = output[:, -1, ...] if axis else output[-1, ...]
    return ops.sum(output)


def _norm(taken: Taken, parts: slice) -> float:
    """The Euclidean norm of the gradient of these parts of a state."""
    found = [to_numpy(g).astype(np.float64).ravel() for g in taken.gradient[parts] if g is not None]
    whole = np.concatenate([np.zeros(1), *found])
    largest = float(np.abs(whole).max())  # squares would be 0 long before the numbers are
    return largest * float(np.linalg.norm(whole / largest)) if 0.0 < largest < np.inf else largest
