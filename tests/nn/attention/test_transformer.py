"""The Transformer's encoder: composition, padding, causality, gradients. Its numbers: tests/oracles."""

import numpy as np
import pytest
from helpers import assert_close, host, leaf

from xprnn import Tensor, nn, ops
from xprnn.data import pad_sequences, unpad
from xprnn.testing import check_gradients, check_second_gradients
from xprnn.train import Adam, cross_entropy, fit

T, B, E, N, F = 5, 3, 8, 2, 12
LENGTHS = [5, 0, 3]
REAL = np.arange(T)[:, None] < np.array(LENGTHS)


def layer(**options):
    return nn.TransformerEncoderLayer(E, N, F, **{"dropout": 0.0, "dtype": "float64", "rng": 0} | options)


def stack(**options):
    return nn.TransformerEncoder(layer(**options), 2, nn.LayerNorm(E, dtype="float64"))


def randomised(model, rng):
    """Also the biases and norms, which begin as zeros and ones."""
    for parameter in model.parameters():
        parameter.data = rng.standard_normal(parameter.shape) * 0.4
    return model


MODELS = {
    "layer": layer,
    "pre-norm": lambda: layer(norm_first=True, activation="gelu"),
    "stack": lambda: stack(norm_first=True),
    "stack without a norm": lambda: nn.TransformerEncoder(layer(), 2),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_equations(home, rng, norm_first, activation):
    model = randomised(layer(norm_first=norm_first, activation=activation), rng).to(home)
    x = leaf(home, rng.standard_normal((T, B, E)))
    f = {"relu": ops.relu, "gelu": ops.gelu}[activation]
    feed = lambda h: model.linear2(f(model.linear1(h)))
    if norm_first:
        h = x + model.self_attn(model.norm1(x), causal=True)[0]
        expected = h + feed(model.norm2(h))
    else:
        h = model.norm1(x + model.self_attn(x, causal=True)[0])
        expected = model.norm2(h + feed(h))
    assert_close(model(x, causal=True), expected, 1e-14)


def test_a_stack_is_its_layers_and_a_norm(home, rng):
    model = randomised(stack(), rng).to(home)
    x = home.asarray(rng.standard_normal((T, B, E)))
    first, second = model.layers
    assert_close(model(x), model.norm(second(first(x))), 0.0)
    assert_close(model(x, lengths=[5, 5, 5]), model(x), 0.0)
    assert not np.array_equal(host(stack().layers[0].linear1.weight), host(stack().layers[1].linear1.weight))
    assert_close(host(stack().layers[1].linear1.weight), host(stack().layers[1].linear1.weight), 0.0)


@each_model
def test_gradients(make, rng):
    model = randomised(make(), rng)
    x = rng.standard_normal((T, B, E))
    for options in ({}, {"lengths": LENGTHS}, {"causal": True}):
        f = lambda x, options=options: model(x, **options)
        check_gradients(f, [x], model.parameters())
        check_second_gradients(f, [x])


@each_model
@pytest.mark.parametrize("causal", [False, True])
def test_a_padded_batch_equals_its_sequences_one_at_a_time(home, rng, make, causal):
    model = randomised(make(), rng).to(home)
    sequences = [home.asarray(rng.standard_normal((n, E))) for n in LENGTHS]
    x, lengths = pad_sequences(sequences, np.nan)
    y = model(x, lengths=lengths, causal=causal)
    assert (host(y)[~REAL] == 0).all()
    assert_close(unpad(y, lengths), [host(model(s, causal=causal)) for s in sequences], 1e-13)


@each_model
def test_padding_never_matters(home, rng, make):
    model = randomised(make(), rng).to(home)
    x, cotangent = rng.standard_normal((2, T, B, E))
    results = []
    for dirt in (0.0, np.nan, np.inf):
        inputs = leaf(home, np.where(REAL[..., None], x, dirt))
        model.zero_grad()
        y = model(inputs, mask=home.asarray(REAL))
        y.backward(home.asarray(cotangent))
        assert (host(inputs.grad)[~REAL] == 0).all()
        results.append([host(y), host(inputs.grad), *(host(p.grad) for p in model.parameters())])
    for found in results:
        assert np.isfinite(np.concatenate([a.reshape(-1) for a in found])).all()
        assert_close(found, results[0], 0.0)


@each_model
def test_causal_steps_see_no_future(home, rng, make):
    model, x = randomised(make(), rng).to(home), rng.standard_normal((T, B, E))
    y = host(model(home.asarray(x), causal=True))
    assert_close(y[:3], host(model(home.asarray(x[:3]), causal=True)), 1e-14)
    looks = np.tril(np.ones((T, T), bool))
    assert_close(model(home.asarray(x), attention_mask=looks), y, 0.0)
    inputs = leaf(home, x)
    model(inputs, causal=True)[2].sum().backward()
    assert (host(inputs.grad)[3:] == 0).all()
    assert (host(inputs.grad)[:3] != 0).all()


@each_model
def test_without_positions_order_does_not_matter(rng, make):
    model, x = randomised(make(), rng), rng.standard_normal((T, B, E))
    order = rng.permutation(T)
    assert_close(model(x[order]), host(model(x))[order], 1e-13)
    placed = nn.Sequential(nn.SinusoidalPositions(E), model)
    assert np.abs(host(placed(x[order])) - host(placed(x))[order]).max() > 0.01


def test_batch_first_and_no_batch(home, rng):
    x = rng.standard_normal((T, B, E))
    time_first, batch_first = layer().to(home), layer(batch_first=True).to(home)
    batch_first.load_state_dict(time_first.state_dict())
    turned, real = home.asarray(x.swapaxes(0, 1).copy()), home.asarray(REAL)
    y = host(time_first(home.asarray(x), mask=real))
    assert_close(batch_first(turned, mask=real.T), y.swapaxes(0, 1), 0.0)
    assert_close(batch_first(turned, lengths=LENGTHS), y.swapaxes(0, 1), 0.0)
    assert_close(batch_first(turned, lengths=Tensor(np.array(LENGTHS))), y.swapaxes(0, 1), 0.0)
    for model in (time_first, batch_first):
        assert_close(model(home.asarray(x[:, 0])), y[:, 0], 1e-14)
    assert time_first(home.zeros((0, B, E), "float64")).shape == (0, B, E)
    assert time_first(home.zeros((T, 0, E), "float64"), lengths=[]).shape == (T, 0, E)


def test_dropout_is_drawn_from_the_seed(rng):
    x = rng.standard_normal((T, B, E))
    first, second = stack(dropout=0.3), stack(dropout=0.3)
    y = host(first(x))
    assert_close(second(x), y, 0.0)
    assert not np.array_equal(host(first(x)), y)
    first.eval()
    assert_close(first(x), host(first(x)), 0.0)
    assert_close(first(x), host(stack(dropout=0.0)(x)), 1e-14)


@pytest.mark.parametrize("norm_first", [False, True])
def test_learns_to_recall_the_first_token(norm_first):
    tokens = np.random.default_rng(0).integers(0, 4, (8, 256))
    layers = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, norm_first=norm_first, rng=0)
    model = nn.Sequential(
        nn.Embedding(4, 16, rng=1),
        nn.SinusoidalPositions(16),
        nn.TransformerEncoder(layers, 2, nn.LayerNorm(16)),
        nn.Linear(16, 4, rng=2),
    )
    loss = lambda model, batch: cross_entropy(model(batch[0])[-1], batch[1])
    optimizer = Adam(model.parameters(), 0.01)
    fit(model, [(tokens, tokens[0])], loss, optimizer, epochs=60, progress=False)
    fresh = np.random.default_rng(1).integers(0, 4, (8, 500))
    assert (host(model(fresh))[-1].argmax(axis=-1) == fresh[0]).mean() > 0.99


BAD = {
    "shape": (
        lambda: layer()(np.ones((T, B, 5))),
        ValueError,
        r"TransformerEncoderLayer: x has shape \(5, 3, 5\); expected \(T, B, 8\), or \(T, 8\) without a batch",
    ),
    "stack shape": (
        lambda: nn.TransformerEncoder(layer(batch_first=True), 1)(np.ones((T, B, 5))),
        ValueError,
        r"TransformerEncoder: x has shape \(5, 3, 5\); expected \(B, T, 8\)",
    ),
    "dtype": (lambda: layer()(np.ones((T, B, E), "float32")), TypeError, "x has dtype float32; expected float64"),
    "lengths": (lambda: stack()(np.ones((T, B, E)), lengths=[1]), ValueError, "TransformerEncoder: lengths has shape"),
    "mask": (lambda: layer()(np.ones((T, B, E)), mask=REAL.T), ValueError, r"mask has shape \(3, 5\); expected"),
    "no batch": (lambda: layer()(np.ones((T, E)), lengths=[2]), ValueError, "lengths and mask need a batch; x has sha"),
    "attention mask": (
        lambda: layer()(np.ones((T, B, E)), attention_mask=np.ones((T, B), bool)),
        ValueError,
        r"TransformerEncoderLayer: attention_mask has shape \(5, 3\); expected \(T, S\)",
    ),
    "activation": (lambda: layer(activation="tanh"), ValueError, "activation is 'tanh'; expected one of 'relu'"),
    "heads": (lambda: nn.TransformerEncoderLayer(8, 3), ValueError, "8; expected a multiple of num_heads = 3"),
    "feedforward": (lambda: nn.TransformerEncoderLayer(8, 2, 0), ValueError, "dim_feedforward is 0"),
    "layers": (lambda: nn.TransformerEncoder(layer(), 0), ValueError, "TransformerEncoder: num_layers is 0"),
    "no layer": (
        lambda: nn.TransformerEncoder(nn.Linear(2, 2), 2),
        TypeError,
        "encoder_layer is a Linear; expected a T",
    ),
    "norm": (lambda: nn.TransformerEncoder(layer(), 2, "layer"), TypeError, "norm is a str; expected a Module, such"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_further_layers_are_made_beside_the_first(home):
    first = nn.TransformerEncoderLayer(E, 1, 4, rng=0).to(home).eval()
    model = nn.TransformerEncoder(first, 2)
    assert not model.layers[1].training
    assert model(home.zeros((T, B, E), "float32")).shape == (T, B, E)


def test_arrays_of_another_library(home):
    if home.name == "numpy":
        pytest.skip("the same library")
    with pytest.raises(TypeError, match="TransformerEncoder: x is .*TransformerEncoder: its parameters is"):
        stack()(home.zeros((T, B, E), "float64"))
