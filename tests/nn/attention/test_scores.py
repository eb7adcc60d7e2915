"""Attention: the slides' equation, the papers' score functions, masks, and what is done once for each source."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Tensor, nn, ops
from xprnn.tape import grad
from xprnn.testing import check_gradients, check_second_gradients

L, S, B, Q, K, V = 3, 5, 4, 6, 2, 7

SCORES = {
    "dot": (lambda dtype="float64": nn.DotAttention(), Q),
    "scaled dot": (lambda dtype="float64": nn.DotAttention(scaled=True), Q),
    "general": (lambda dtype="float64": nn.GeneralAttention(Q, K, dtype=dtype, rng=0), K),
    "additive": (lambda dtype="float64": nn.AdditiveAttention(Q, K, 9, dtype=dtype, rng=0), K),
}
each_score = pytest.mark.parametrize(("make", "keys"), SCORES.values(), ids=SCORES.keys())
MASKS = {
    "nothing": {},
    "lengths": {"lengths": [5, 0, 2, 1]},
    "mask": {"mask": np.random.default_rng(5).random((S, B)) < 0.5},
    "both": {"lengths": np.array([5, 0, 2, 1]), "mask": np.random.default_rng(5).random((S, B)) < 0.5},
}
each_mask = pytest.mark.parametrize("control", MASKS.values(), ids=MASKS.keys())


def draw(*shape, seed=0, dtype="float64"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def arrays(keys):
    return draw(L, B, Q, seed=1), draw(S, B, keys, seed=2), draw(S, B, V, seed=3)


def visible(control):
    seen = np.ones((S, B), bool)
    if "lengths" in control:
        seen &= np.arange(S)[:, None] < np.asarray(control["lengths"])
    return seen & control.get("mask", True)


def one_by_one(layer, query, keys, values, seen):
    """The papers' equations with loops, for one query of one sequence at a time."""
    score = {
        "DotAttention": lambda q, k: q @ k / (np.sqrt(len(q)) if getattr(layer, "scaled", False) else 1.0),
        "GeneralAttention": lambda q, k: q @ (host(layer.key_projection.weight) @ k),
        "AdditiveAttention": lambda q, k: (
            host(layer.v)
            @ np.tanh(
                host(layer.query_projection.weight) @ q
                + host(layer.query_projection.bias)
                + host(layer.key_projection.weight) @ k
            )
        ),
    }[type(layer).__name__]
    context, weights = np.zeros((L, B, V)), np.zeros((B, L, S))
    for b in range(B):
        there = np.flatnonzero(seen[:, b])
        for t in range(L):
            if len(there):
                powers = np.exp([score(query[t, b], keys[s, b]) for s in there])
                weights[b, t, there] = powers / powers.sum()
            context[t, b] = sum((weights[b, t, s] * values[s, b] for s in there), np.zeros(V))
    return context, weights


# --- what it computes -----------------------------------------------------------------------------------------------


def test_the_slides_equation(rng):
    keys, values, query = rng.standard_normal((10, 5)), rng.standard_normal((10, 5)), rng.standard_normal((10, 1))
    scores = keys.T @ query
    weights = np.exp(scores) / np.sum(np.exp(scores), axis=0)
    attention = nn.DotAttention()
    memory = attention.prepare(keys.T[:, None], values.T[:, None])
    context, found = attention(query.T[None], memory)
    assert_close(found, weights.T[None], 1e-15)
    assert_close(context, (values @ weights).T[None], 1e-15)


@each_mask
@each_score
def test_like_the_equations_one_by_one(make, keys, control, home):
    layer, (query, keys, values) = make(), arrays(keys)
    seen = visible(control)
    expected = one_by_one(layer, query, keys, values, seen)
    layer.to(home)
    control = {n: home.asarray(np.asarray(c)) if n == "mask" else c for n, c in control.items()}
    memory = layer.prepare(home.asarray(keys), home.asarray(values), **control)
    found = layer(home.asarray(query), memory)
    assert type(found[0].data) is type(home.zeros((1,), "float64"))
    assert_close(found, expected, 1e-14)
    sums = host(found[1]).sum(axis=-1)
    assert_close(sums, np.broadcast_to(seen.any(axis=0)[:, None], (B, L)).astype(float), 1e-14)


@each_score
def test_one_query_is_one_step(make, keys):
    layer, (query, keys, values) = make(), arrays(keys)
    memory = layer.prepare(keys, values, lengths=[5, 0, 2, 1])
    context, weights = layer(query, memory)
    for t in range(L):
        found = layer(query[t], memory)
        assert_close(found, (context[t], weights[:, t]), 1e-15)


def test_values_default_to_keys():
    layer, (query, keys, _) = nn.GeneralAttention(Q, K, dtype="float64", rng=0), arrays(K)
    assert_close(layer(query, layer.prepare(keys)), layer(query, layer.prepare(keys, keys)), 0.0)


@each_score
def test_float32_and_tensors(make, keys):
    layer, (query, keys, values) = make("float32"), (x.astype("float32") for x in arrays(keys))
    context, weights = layer(Tensor(query), layer.prepare(Tensor(keys), Tensor(values)))
    assert context.dtype == weights.dtype == np.float32
    assert_close(context, layer(query, layer.prepare(keys, values))[0], 0.0)


# --- gradients ------------------------------------------------------------------------------------------------------


@each_mask
@each_score
def test_gradients(make, keys, control):
    layer = make()

    def attend(query, keys, values):
        return layer(query, layer.prepare(keys, values, **control))

    check_gradients(attend, arrays(keys), layer.parameters())
    check_second_gradients(attend, arrays(keys))


@each_mask
@each_score
def test_gradients_that_are_recorded_are_the_same(make, keys, control, home):
    layer = make().to(home)
    control = {n: home.asarray(np.asarray(c)) if n == "mask" else c for n, c in control.items()}
    leaves = [*(leaf(home, x) for x in arrays(keys)), *layer.parameters()]
    context, _ = layer(leaves[0], layer.prepare(*leaves[1:3], **control))
    outputs = ops.sum(ops.sin(context))
    recorded = grad(outputs, leaves, create_graph=True)
    assert_close(recorded, grad(outputs, leaves), 1e-14)


@each_score
def test_nothing_to_look_at_gives_zeros_and_zero_gradients(make, keys, home):
    layer, (query, keys, values) = make().to(home), (leaf(home, x) for x in arrays(keys))
    context, weights = layer(query, layer.prepare(keys, values, mask=np.zeros((S, B), bool)))
    assert not host(context).any()
    assert not host(weights).any()
    context.sum().backward()
    for tensor in (query, keys, values, *layer.parameters()):
        assert tensor.grad is None or not host(tensor.grad).any()


@each_score
def test_padding_is_never_looked_at(make, keys, home):
    layer, (query, keys, values) = make().to(home), arrays(keys)
    hidden, results = ~visible(MASKS["both"]), []
    for content in (0.0, np.nan, np.inf):
        for array in (keys, values):
            array[hidden] = content
        layer.zero_grad()
        inputs = [leaf(home, x) for x in (query, keys, values)]
        context, weights = layer(inputs[0], layer.prepare(*inputs[1:], **MASKS["both"]))
        (context * context).sum().backward()
        results.append([context, weights, *(t.grad for t in (*inputs, *layer.parameters()) if t.grad is not None)])
        assert not host(inputs[1].grad)[hidden].any()
    assert_close(results[1], results[0], 0.0)
    assert_close(results[2], results[0], 0.0)


def test_callers_arrays_stay_as_they_are():
    layer, (query, keys, values) = nn.DotAttention(), arrays(Q)
    for array in (query, keys, values):
        array.flags.writeable = False
    layer(query, layer.prepare(keys, values, lengths=[5, 0, 2, 1]))


# --- once for each source -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "keys"), [SCORES["general"], SCORES["additive"]], ids=["general", "additive"])
def test_keys_are_projected_once_for_any_number_of_queries(make, keys, monkeypatch):
    layer, (query, keys, values) = make(), arrays(keys)
    calls, project = [], layer.key_projection.forward
    monkeypatch.setattr(layer.key_projection, "forward", lambda x: calls.append(x.shape) or project(x))
    memory = layer.prepare(keys, values)
    for row in query:
        layer(row, memory)
    assert calls == [(S, B, K)]


# --- nothing, and wrong things --------------------------------------------------------------------------------------


@each_score
@pytest.mark.parametrize(("steps", "batch", "source"), [(3, 0, 5), (0, 4, 5), (3, 4, 0), (0, 0, 0)])
def test_empty(make, keys, steps, batch, source, home):
    layer = make().to(home)
    query, keys, values = (
        home.zeros((n, batch, size), "float64") for n, size in ((steps, Q), (source, keys), (source, V))
    )
    context, weights = layer(query, layer.prepare(keys, values, lengths=[source] * batch))
    assert weights.shape == (batch, steps, source)
    assert not host(context).any()
    assert context.shape == (steps, batch, V)


def ones(*shape):
    return np.ones(shape, "float32")


dot, general = nn.DotAttention(), nn.GeneralAttention(6, 2)
BAD = {
    "keys rank": (
        lambda: dot.prepare(ones(5, 6)),
        ValueError,
        r"DotAttention: keys has shape \(5, 6\); expected \(S, B, K\)",
    ),
    "keys size": (
        lambda: general.prepare(ones(5, 4, 3)),
        ValueError,
        r"GeneralAttention: keys has shape \(5, 4, 3\); expected \(S, B, 2\)",
    ),
    "keys dtype": (
        lambda: general.prepare(ones(5, 4, 2).astype("float64")),
        TypeError,
        "GeneralAttention: keys has dtype float64; the layer has float32",
    ),
    "integers": (lambda: dot.prepare(ones(5, 4, 2).astype(int)), TypeError, "DotAttention: keys has dtype int64"),
    "values": (
        lambda: dot.prepare(ones(5, 4, 2), ones(5, 3, 2)),
        ValueError,
        r"values has shape \(5, 3, 2\); expected \(5, 4, V\), as keys",
    ),
    "mask shape": (
        lambda: dot.prepare(ones(5, 4, 2), mask=np.ones((4, 5), bool)),
        ValueError,
        r"DotAttention: mask has shape \(4, 5\); expected \(T, B\) = \(5, 4\)",
    ),
    "mask dtype": (
        lambda: dot.prepare(ones(5, 4, 2), mask=ones(5, 4)),
        TypeError,
        "mask has dtype float32; expected bool",
    ),
    "lengths": (
        lambda: dot.prepare(ones(5, 4, 2), lengths=[1, 2, 3, 6]),
        ValueError,
        "DotAttention: lengths contains 6; expected values from 0 to T = 5",
    ),
    "query size": (
        lambda: dot(ones(3, 4, 7), dot.prepare(ones(5, 4, 2))),
        ValueError,
        r"DotAttention: query has shape \(3, 4, 7\); expected \(L, 4, 2\)",
    ),
    "query batch": (
        lambda: general(ones(3, 5, 6), general.prepare(ones(5, 4, 2))),
        ValueError,
        r"GeneralAttention: query has shape \(3, 5, 6\); expected \(L, 4, 6\)",
    ),
    "query dtype": (
        lambda: dot(np.ones((3, 4, 2)), dot.prepare(ones(5, 4, 2))),
        TypeError,
        "DotAttention: query has dtype float64",
    ),
    "memory": (
        lambda: dot(ones(3, 4, 2), ones(5, 4, 2)),
        TypeError,
        r"DotAttention: memory is a ndarray; expected what prepare\(\) returned",
    ),
    "sizes": (lambda: nn.AdditiveAttention(3, 4, 0), ValueError, "AdditiveAttention: hidden_size is 0"),
    "dtype": (lambda: nn.GeneralAttention(3, 4, dtype="float16"), ValueError, "GeneralAttention: dtype is 'float16'"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
