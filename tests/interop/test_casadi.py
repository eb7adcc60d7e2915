"""A step in CasADi: the numbers of the layer's own, and CasADi's Jacobians beside ours."""

import numpy as np
import pytest

from xprnn import Tensor, grad, nn
from xprnn.interop import casadi as exported

ca = pytest.importorskip("casadi")
MODELS = {
    "lstm": lambda: nn.LSTM(2, 3, 2, dtype="float64", rng=0),
    "gru": lambda: nn.GRU(2, 3, dtype="float64", rng=0),
    "chain": lambda: nn.Sequential(
        nn.Linear(2, 4, dtype="float64", rng=0),
        nn.Tanh(),
        nn.GRU(4, 3, 2, reset_after=False, dtype="float64", rng=1),
        nn.Dropout(0.5),
        nn.RNN(3, 4, bias=False, dtype="float64", rng=2),
        nn.RNN(4, 3, nonlinearity="relu", dtype="float64", rng=3),
        nn.Sequential(nn.ReLU(), nn.LSTM(3, 2, dtype="float64", rng=4)),
        nn.Sigmoid(),
        nn.Linear(2, 2, bias=False, dtype="float64", rng=5),
    ),
}


def flat(state):
    """The states of a stream, (L, 1, H) a part, as CasADi has them."""
    states = state if isinstance(state, list) else [state]
    parts = [part if isinstance(part, tuple) else (part,) for part in states]
    return np.concatenate([part[layer, 0] for own in parts for layer in range(len(own[0])) for part in own])


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_the_models(name, rng):
    model = MODELS[name]()
    f, stream = exported.step(model), model.stream(batch=None)
    state = ca.DM.zeros(f.size_in("state"))
    for x in rng.standard_normal((5, 2)):
        y, state = f(x, state)
        np.testing.assert_allclose(np.array(y)[:, 0], stream.step(x), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(np.array(state)[:, 0], flat(stream.state), rtol=1e-12, atol=1e-14)


def test_jacobians_are_ours(rng):
    layer = MODELS["lstm"]()
    f = exported.step(layer)
    x, s = ca.MX.sym("x", 2), ca.MX.sym("s", f.size1_in("state"))
    y, after = f(x, s)
    jacobian = ca.Function("J", [x, s], [ca.jacobian(ca.vertcat(y, after), ca.vertcat(x, s))])
    parts = [rng.standard_normal((2, 1, 3)) for _ in "hc"]
    ours = [Tensor(rng.standard_normal((1, 1, 2)), requires_grad=True), *(Tensor(p, requires_grad=True) for p in parts)]
    output, (h, c) = layer(ours[0], (ours[1], ours[2]))
    rows = []
    for value in [*output[0, 0], *(part[k, 0, n] for k in range(2) for part in (h, c) for n in range(3))]:
        dx, dh, dc = (
            np.zeros(t.shape) if g is None else g.data
            for g, t in zip(grad(value, ours, retain_graph=True), ours, strict=True)
        )
        rows.append(np.concatenate([dx.ravel(), flat((dh, dc))]))
    found = jacobian(ours[0].data.ravel(), flat(tuple(parts)))
    np.testing.assert_allclose(np.array(found), rows, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: nn.LSTM(2, 3, peephole="diagonal"),
            "has the cell .*; expected one of Elman, LSTM, GRU, ResetBeforeGRU",
        ),
        (lambda: nn.GRU(2, 3, bidirectional=True), "is bidirectional"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax()), r"1 \(Softmax\) cannot be written"),
    ],
)
def test_what_has_no_place(model, message):
    with pytest.raises(ValueError, match=message):
        exported.step(model())
