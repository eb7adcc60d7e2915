"""Masked softmax and multi-head attention: the equations, masks, padding, gradients."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Tensor, nn, ops
from xprnn.nn.attention.weights import masked_softmax
from xprnn.testing import check_gradients, check_second_gradients

T, S, B, E, N = 4, 6, 3, 8, 2
LENGTHS = [6, 0, 3]


def attention(*args, **options):
    return nn.MultiheadAttention(*(args or (E, N)), dtype="float64", rng=0, **options)


def softmax(s, axis=-1):
    powers = np.exp(s - s.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


# --- masked_softmax -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_softmax_over_what_may_be_looked_at(home, rng, axis):
    scores, mask = rng.standard_normal((4, 5, 6)) * 3, rng.random((5, 6)) < 0.6
    found = host(masked_softmax(home.asarray(scores), home.asarray(mask), axis))
    powers = np.exp(scores) * mask
    total = powers.sum(axis=axis, keepdims=True)
    assert_close(found, np.divide(powers, total, out=np.zeros_like(powers), where=total > 0), 1e-15)
    assert (found[:, ~mask] == 0).all()
    assert_close(masked_softmax(home.asarray(scores), None, axis), softmax(scores, axis), 1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_and_infinite_scores(home, dtype):
    huge, inf = float(np.finfo(dtype).max) / 4, np.inf
    scores = [[huge, -huge, 0], [inf, 0, inf], [-inf, 0, 0], [-inf, -inf, -inf], [inf, huge, 1e4], [-huge] * 3]
    found = masked_softmax(home.asarray(np.array(scores), dtype))
    third = np.float64(1) / 3
    expected = [[1, 0, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 0], [1, 0, 0], [third] * 3]
    assert_close(found, np.array(expected, dtype), 1e-7)


def test_nothing_to_look_at_gives_zero_weights_and_gradients(home, rng):
    scores = leaf(home, rng.standard_normal((2, 3)))
    mask = home.asarray(np.array([[False] * 3, [True, False, True]]))
    weights = masked_softmax(scores, mask)
    assert (host(weights)[0] == 0).all()
    ops.sum(weights * home.asarray(rng.standard_normal((2, 3)))).backward()
    assert (host(scores.grad)[0] == 0).all()
    assert (host(scores.grad)[1, [0, 2]] != 0).all()
    assert masked_softmax(home.zeros((2, 0), "float64")).shape == (2, 0)


def test_nan_under_the_mask_stays_there(home, rng):
    clean, mask = rng.standard_normal((2, 4)), np.array([[True, True, False, True], [False] * 4])
    cotangent = rng.standard_normal((2, 4))
    results = []
    for dirt in (0.0, np.nan, np.inf):
        scores = leaf(home, np.where(mask, clean, dirt))
        weights = masked_softmax(scores, home.asarray(mask))
        weights.backward(home.asarray(np.where(mask, cotangent, dirt)))
        results.append((host(weights), host(scores.grad)))
    for found in results:
        assert_close(found, results[0], 0.0)
    assert np.isfinite(results[0][1]).all()


def test_nan_elsewhere_is_not_hidden(home):
    scores = home.asarray(np.array([[np.nan, 0.0, 1.0], [0.0, 1.0, 2.0]]))
    mask = home.asarray(np.array([True, True, False]))
    for weights in (host(masked_softmax(scores)), host(masked_softmax(scores, mask))[:, :2]):
        assert np.isnan(weights[0]).all()
        assert np.isfinite(weights[1]).all()


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("masked", [True, False])
def test_gradients_of_softmax(rng, masked, axis):
    mask = rng.random((3, 4)) < 0.6 if masked else None
    f = lambda s: masked_softmax(s, mask, axis)
    check_gradients(f, [rng.standard_normal((2, 3, 4))])
    check_second_gradients(f, [rng.standard_normal((2, 3, 4))])


def test_the_scores_are_not_written_to(rng):
    scores = rng.standard_normal((3, 4))
    before = scores.copy()
    scores.flags.writeable = False
    masked_softmax(scores)
    masked_softmax(scores, np.ones(4, bool))
    assert_close(scores, before, 0.0)


# --- multi-head -----------------------------------------------------------------------------------------------------


def by_hand(layer, q, k, v, looks):
    """Head by head, query by query, for time-major host arrays; looks (B, N, T, S)."""
    state = {name: host(p) for name, p in layer.state_dict().items()}
    if "in_proj_weight" in state:
        projections = np.split(state["in_proj_weight"], 3)
    else:
        projections = [state[f"{name}_proj_weight"] for name in "qkv"]
    biases = np.split(state["in_proj_bias"], 3)
    q, k, v = (x @ w.T + b for x, w, b in zip((q, k, v), projections, biases, strict=True))
    size = layer.embed_dim // layer.num_heads
    weights, context = np.zeros(looks.shape), np.zeros(q.shape)
    for b, n, t, _ in np.ndindex(*looks.shape[:3], 1):
        part, seen = slice(n * size, (n + 1) * size), looks[b, n, t]
        if seen.any():
            weights[b, n, t, seen] = softmax(k[seen, b, part] @ q[t, b, part] / np.sqrt(size))
            context[t, b, part] = weights[b, n, t, seen] @ v[seen, b, part]
    return context @ state["out_proj.weight"].T + state["out_proj.bias"], weights


@pytest.mark.parametrize("features", [(None, None), (5, 3)])
def test_the_equations(home, rng, features):
    layer = attention(E, N, kdim=features[0], vdim=features[1])
    for parameter in layer.parameters():
        parameter.data = rng.standard_normal(parameter.shape)
    q, k, v = (rng.standard_normal((n, B, f or E)) for n, f in zip((T, S, S), (E, *features), strict=True))
    looks = rng.random((B, N, T, S)) < 0.5
    looks[0, 0, 0] = False  # a query that may look at nothing
    expected = by_hand(layer, q, k, v, looks)
    layer.to(home)
    q, k, v = (home.asarray(x) for x in (q, k, v))
    y, weights = layer(q, k, v, attention_mask=home.asarray(looks), average_attn_weights=False)
    assert_close((y, weights), expected, 1e-13)
    assert (host(weights)[~looks] == 0).all()
    y, weights = layer(q, k, v, attention_mask=looks)  # the mask may be on the host
    assert_close((y, weights), (expected[0], expected[1].mean(axis=1)), 1e-13)
    assert layer(q, k, v, attention_mask=looks, need_weights=False)[1] is None


def test_self_attention_is_the_default(home, rng):
    layer, x = attention().to(home), home.asarray(rng.standard_normal((T, B, E)))
    copy = home.asarray(host(x).copy())
    assert_close(layer(x), layer(x, copy, copy), 1e-14)
    assert_close(layer(x), layer(x, x, x), 0.0)
    assert_close(layer(x, copy), layer(x, copy, copy), 0.0)


def test_causal(home, rng):
    layer, x = attention().to(home), rng.standard_normal((T, B, E))
    y, weights = layer(home.asarray(x), causal=True)
    assert (host(weights)[:, ~np.tril(np.ones((T, T), bool))] == 0).all()
    changed = x.copy()
    changed[2:] += 1.0
    assert_close(host(layer(home.asarray(changed), causal=True)[0])[:2], host(y)[:2], 0.0)
    first, _ = layer(home.asarray(x[:1]))
    assert_close(host(y)[:1], host(first), 1e-14)


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_and_masks_agree_with_shorter_keys(home, rng, batch_first):
    layer, x = attention(batch_first=batch_first).to(home), rng.standard_normal((S, B, E))
    real = np.arange(S)[:, None] < np.array(LENGTHS)
    turned = (lambda a: home.asarray(np.ascontiguousarray(a.swapaxes(0, 1)))) if batch_first else home.asarray
    y, weights = layer(turned(x), lengths=LENGTHS)
    assert_close(layer(turned(x), mask=turned(real)), (y, weights), 0.0)
    assert_close(layer(Tensor(turned(x)), mask=Tensor(turned(real))), (y, weights), 0.0)
    y = host(y).swapaxes(0, 1) if batch_first else host(y)
    for b, n in enumerate(LENGTHS):
        alone, seen = layer(home.asarray(x[:n, b]))
        assert_close(y[:n, b], host(alone), 1e-14)
        assert_close(host(weights)[b, :n, :n], host(seen), 1e-14)
        assert (host(weights)[b, :, n:] == 0).all()


@pytest.mark.parametrize("same", [True, False])
def test_padding_never_matters(home, rng, same):
    """Neither to outputs, nor to any gradient; and a sequence of padding only gives nothing back."""
    layer = attention().to(home)
    x, other = rng.standard_normal((2, S, B, E))
    real = np.arange(S)[:, None] < np.array(LENGTHS)
    cotangent = home.asarray(np.where(real[..., None], rng.standard_normal(x.shape), 0.0))
    results = []
    for dirt in (0.0, np.nan, 1e9):
        q, k, v = (leaf(home, np.where(real[..., None], a, dirt)) for a in (x, x, other))
        layer.zero_grad()
        y, weights = layer(q, lengths=LENGTHS) if same else layer(home.asarray(x), k, v, lengths=LENGTHS)
        y.backward(cotangent)
        leaves = [q] if same else [k, v]
        seen = host(y)[real] if same else host(y)
        results.append([seen, host(weights), *(host(p.grad) for p in [*leaves, *layer.parameters()])])
        for each in leaves:
            assert (host(each.grad)[~real] == 0).all()
    for found in results:
        assert np.isfinite(np.concatenate([a.reshape(-1) for a in found])).all()
        assert_close(found, results[0], 0.0)


def test_one_who_may_look_at_nothing(home, rng):
    layer = attention().to(home)
    layer.out_proj.bias.data = home.asarray(rng.standard_normal(E))
    x = leaf(home, rng.standard_normal((T, B, E)))
    y, weights = layer(x, attention_mask=np.zeros((T, T), bool))
    assert (host(weights) == 0).all()
    assert_close(y, np.broadcast_to(host(layer.out_proj.bias), y.shape), 0.0)
    ops.sum(ops.square(y)).backward()
    assert (host(x.grad) == 0).all()
    assert (host(layer.in_proj_weight.grad) == 0).all()
    assert (host(layer.out_proj.bias.grad) != 0).all()


def test_no_keys_and_no_queries(home):
    layer = attention().to(home)
    y, weights = layer(home.zeros((T, B, E), "float64"), home.zeros((0, B, E), "float64"))
    assert y.shape == (T, B, E)
    assert weights.shape == (B, T, 0)
    y, weights = layer(home.zeros((0, B, E), "float64"), causal=True)
    assert y.shape == (0, B, E)
    assert layer(home.zeros((T, 0, E), "float64"), lengths=[])[0].shape == (T, 0, E)


@pytest.mark.parametrize("options", [{}, {"lengths": [3, 1, 4]}, {"causal": True}])
@pytest.mark.parametrize("average", [True, False])
def test_gradients(rng, options, average):
    layer = attention()
    layer.in_proj_bias.data = rng.standard_normal(3 * E)
    f = lambda x: layer(x, average_attn_weights=average, **options)
    x = rng.standard_normal((T, B, E))
    check_gradients(f, [x], layer.parameters())
    check_second_gradients(f, [x])


def test_gradients_to_queries_keys_and_values(rng):
    layer = attention(E, N, kdim=5, vdim=3)
    inputs = [rng.standard_normal((n, B, f)) for n, f in ((T, E), (S, 5), (S, 3))]
    f = lambda q, k, v: layer(q, k, v, lengths=[6, 0, 3])
    check_gradients(f, inputs, layer.parameters())
    check_second_gradients(f, inputs)


def test_dropout_acts_on_weights_while_training(rng):
    layer, x = attention(E, N, 0.5), rng.standard_normal((T, B, E))
    first, second = layer(x), layer(x)
    assert not np.array_equal(host(first[0]), host(second[0]))
    assert_close(first[1], host(second[1]), 0.0)  # the returned weights are those before
    again = attention(E, N, 0.5)
    assert_close(again(x), host(first), 0.0)
    layer.eval()
    assert_close(layer(x), host(layer(x)), 0.0)
    assert_close(attention(E, N, 1.0)(x)[0], np.zeros((T, B, E)), 0.0)


def test_inputs_are_not_written_to(rng):
    x = rng.standard_normal((T, B, E))
    before = x.copy()
    x.flags.writeable = False
    attention()(x, lengths=[4, 2, 0])
    assert_close(x, before, 0.0)


def test_float32_stays_float32(home):
    layer = nn.MultiheadAttention(E, N, 0.1, rng=0).to(home)
    y, weights = layer(home.zeros((T, B, E), "float32"), lengths=[4, 2, 1], causal=True)
    y.sum().backward()
    found = {a.dtype for a in (y, weights, *(p.grad for p in layer.parameters()))}
    assert found == {home.zeros((1,), "float32").dtype}


ones = np.ones
BAD = {
    "heads": (lambda: attention(8, 3), ValueError, "embed_dim is 8; expected a multiple of num_heads = 3"),
    "no heads": (lambda: attention(8, 0), ValueError, "MultiheadAttention: num_heads is 0"),
    "dropout": (lambda: attention(8, 2, 1.5), ValueError, "p is 1.5; expected a probability"),
    "kdim": (lambda: attention(8, 2, kdim=0), ValueError, "MultiheadAttention: kdim is 0"),
    "features": (
        lambda: attention()(ones((T, B, 5))),
        ValueError,
        r"MultiheadAttention: query has shape \(4, 3, 5\); expected \(T, B, 8\), or \(T, 8\) without a batch",
    ),
    "batch first": (
        lambda: attention(batch_first=True)(ones((B, T, E)), ones((B, S, 5))),
        ValueError,
        r"key has shape \(3, 6, 5\); expected \(B, T, 8\)",
    ),
    "key is not query": (
        lambda: attention(E, N, kdim=5)(ones((T, B, E))),
        ValueError,
        r"key has shape \(4, 3, 8\); expected \(T, B, 5\)",
    ),
    "list": (lambda: attention()([[1.0]]), TypeError, "query is a list; expected an array or a Tensor"),
    "dtype": (lambda: attention()(ones((T, B, E), "float32")), TypeError, "query has dtype float32; expected float64"),
    "batches": (
        lambda: attention()(ones((T, B, E)), ones((S, 2, E))),
        ValueError,
        r"key has shape \(6, 2, 8\); expected the batch of query, which has shape \(4, 3, 8\)",
    ),
    "one batch": (lambda: attention()(ones((T, E)), ones((S, 1, E))), ValueError, r"key has shape \(6, 1, 8\)"),
    "values": (
        lambda: attention()(ones((T, B, E)), ones((S, B, E)), ones((5, B, E))),
        ValueError,
        r"value has shape \(5, 3, 8\); expected as many steps as key, which has shape \(6, 3, 8\)",
    ),
    "lengths": (
        lambda: attention()(ones((T, B, E)), ones((S, B, E)), lengths=[7, 1, 1]),
        ValueError,
        "MultiheadAttention: lengths contains 7; expected values from 0 to T = 6",
    ),
    "mask": (
        lambda: attention()(ones((T, B, E)), mask=ones((B, T), bool)),
        ValueError,
        r"MultiheadAttention: mask has shape \(3, 4\); expected \(T, B\) = \(4, 3\)",
    ),
    "no batch": (
        lambda: attention()(ones((T, E)), lengths=[2]),
        ValueError,
        r"lengths and mask need a batch; query has shape \(4, 8\)",
    ),
    "attention mask": (
        lambda: attention()(ones((T, B, E)), attention_mask=ones((T, T))),
        TypeError,
        "attention_mask has dtype float64; expected bool, True where to look",
    ),
    "attention mask shape": (
        lambda: attention()(ones((T, B, E)), attention_mask=ones((B * N, T, T), bool)),
        ValueError,
        r"attention_mask has shape \(6, 4, 4\); expected \(T, S\), \(B, T, S\) or .* of \(3, 2, 4, 4\)",
    ),
    "causal": (
        lambda: attention()(ones((T, B, E)), ones((S, B, E)), causal=True),
        ValueError,
        "causal needs as many keys as queries; there are 6 and 4",
    ),
    "softmax of integers": (lambda: masked_softmax(ones(3, int)), TypeError, "masked_softmax: scores has dtype int64"),
    "softmax mask": (
        lambda: masked_softmax(ones((2, 3)), ones(3)),
        TypeError,
        "masked_softmax: mask has dtype float64; expected bool",
    ),
    "softmax mask shape": (
        lambda: masked_softmax(ones((2, 3)), ones((4, 2, 3), bool)),
        ValueError,
        r"mask has shape \(4, 2, 3\); expected \(2, 3\), as scores, or a shape that is broadcast to it",
    ),
    "softmax axis": (lambda: masked_softmax(ones(3), axis=1), ValueError, r"axis is 1; scores has shape \(3,\)"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_arrays_of_different_libraries(home):
    x = home.zeros((T, B, E), "float64")
    if home.name == "numpy":
        pytest.skip("the same library")
    with pytest.raises(TypeError, match="MultiheadAttention: query is .*MultiheadAttention: its parameters is"):
        attention()(x)
    with pytest.raises(TypeError, match="MultiheadAttention: query is .*MultiheadAttention: key is"):
        attention().to(home)(x, Tensor(np.zeros((S, B, E))))
