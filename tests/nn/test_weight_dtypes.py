"""A weight of another dtype than its layer never widens a result in silence: every layer names it."""

import numpy as np
import pytest

from xprnn import Parameter, nn, use_kernels

X = np.ones((4, 2, 6), "float32")
LAYERS = {
    "Linear": lambda **o: nn.Linear(6, 6, **o),
    "LayerNorm": lambda **o: nn.LayerNorm(6, **o),
    "Embedding": lambda **o: nn.Embedding(5, 6, **o),
    "LearnedPositions": lambda **o: nn.LearnedPositions(5, 6, **o),
    "MultiheadAttention": lambda **o: nn.MultiheadAttention(6, 2, **o),
    "MultiheadAttention apart": lambda **o: nn.MultiheadAttention(6, 2, kdim=6, vdim=3, **o),
    "AdditiveAttention": lambda **o: nn.AdditiveAttention(6, 6, 3, **o),
    "RNN": lambda **o: nn.RNN(6, 6, **o),
    "LSTM": lambda **o: nn.LSTM(6, 6, num_layers=2, bidirectional=True, **o),
    "GRU": lambda **o: nn.GRU(6, 6, reset_after=False, **o),
    "LSTM projected": lambda **o: nn.LSTM(6, 6, proj_size=2, peephole="full", **o),
    "RNNCell": lambda **o: nn.RNNCell(6, 6, **o),
    "LSTMCell": lambda **o: nn.LSTMCell(6, 6, **o),
    "GRUCell": lambda **o: nn.GRUCell(6, 6, **o),
}


def call(layer, dtype="float32"):
    x = X.astype(dtype)
    if isinstance(layer, nn.Embedding):
        return layer(np.array([1, 2]))
    if isinstance(layer, nn.MultiheadAttention):
        return layer(x, x, x[..., : layer.vdim])[0]
    if isinstance(layer, nn.AdditiveAttention):
        return layer(x, layer.prepare(x))[0]
    return layer(x[0] if type(layer).__name__.endswith("Cell") else x)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_every_weight_of_every_layer(make, dtype, kernels):
    layer = make(dtype=dtype)
    owners = {id(part): module for _, module in layer.named_modules() for part in vars(module).values()}
    for name, parameter in layer.named_parameters():
        module, attribute = owners[id(parameter)], name.rsplit(".", 1)[-1]
        other = "float64" if dtype == "float32" else "float32"
        setattr(module, attribute, Parameter(parameter.data.astype(other)))
        message = rf"^{type(module).__name__}: {attribute} has dtype {other}; expected {dtype}"
        with use_kernels(kernels):
            with pytest.raises(TypeError, match=message):
                call(layer, dtype)
            setattr(module, attribute, parameter)
            call(layer, dtype)


def test_on_the_second_backend(home):
    layer = nn.Linear(6, 6).to(home)
    layer.weight = Parameter(home.zeros((6, 6), "float64"))
    with pytest.raises(TypeError, match="Linear: weight has dtype float64; expected float32"):
        layer(home.asarray(X))


@pytest.mark.parametrize("batch", [1, None])
def test_a_stream_new_and_open(batch):
    layer = nn.LSTM(6, 6)
    stream = layer.stream(batch)
    x = X[0, :1] if batch else X[0, 0]
    stream.step(x)
    layer.weight_hh_l0 = Parameter(layer.weight_hh_l0.data.astype("float64"))
    for step in (lambda: stream.step(x), lambda: layer.stream(batch)):
        with pytest.raises(TypeError, match="LSTM: weight_hh_l0 has dtype float64; expected float32"):
            step()


def test_what_is_no_weight_at_all():
    layer = nn.Linear(6, 6)
    layer.weight = None
    with pytest.raises(TypeError, match="Linear: weight is a NoneType; expected a Parameter"):
        layer(X)


def test_a_layer_whose_weights_are_all_made_wider_goes_on_as_such():
    layer = nn.Linear(6, 6)
    layer.weight, layer.bias = (Parameter(p.data.astype("float64")) for p in layer.parameters())
    layer.dtype = "float64"
    assert layer(X.astype("float64")).dtype == np.float64
