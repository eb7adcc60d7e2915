"""What CuPy needs of the whole library, shown without a GPU on the second device of array_api_strict.

Nothing comes to the host but what must: the counts below are all there are, however many steps the sequences have. In
training it is one copy for every 64 batches, and one at the end of an epoch. tests/gpu/ repeats them with CuPy.
"""

import array_api_strict
import numpy as np
import pytest
from helpers import exported
from host_copies import counted, random

import xprnn
from xprnn import Tensor, nn, ops, train
from xprnn.backend import get_backend, to_backend, to_numpy, use_backend
from xprnn.data import Batches, lengths_to_mask
from xprnn.estimators import CharacterModel, Forecaster, TextClassifier
from xprnn.train import (
    SGD,
    Adam,
    ConstantRatio,
    RMSprop,
    TeacherForcing,
    clip_grad_norm,
    clip_grad_value,
    cross_entropy,
    fit,
    losses,
    mse,
)

HOME = get_backend("array_api_strict", array_api_strict.Device("device1"))


OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: Adam(p, weight_decay=0.1),
    "rmsprop": lambda p: RMSprop(p, momentum=0.9, centered=True),
    **{kind.__name__: kind for kind in exported(train, train.Optimizer)},
}


LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, rng=0),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu", rng=0),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.5, rng=0),
    "peephole": lambda: nn.LSTM(3, 4, peephole="diagonal", rng=0),
    "full peephole": lambda: nn.LSTM(3, 4, peephole="full", rng=0),
    "projected": lambda: nn.LSTM(3, 4, proj_size=2, rng=0),
    "gru": lambda: nn.GRU(3, 4, rng=0),
    "gru reset before": lambda: nn.GRU(3, 4, reset_after=False, rng=0),
}


SMALL = {
    "linear": lambda: nn.Linear(4, 3, rng=0),
    "layer norm": lambda: nn.LayerNorm(4),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.5, rng=0), nn.Linear(4, 3, rng=0)),
    "last pooling": lambda: nn.LastPooling(bidirectional=True),
    "mean pooling": nn.MeanPooling,
    "max pooling": nn.MaxPooling,
    "attention pooling": lambda: nn.AttentionPooling(4, rng=0),
    "sinusoidal positions": lambda: nn.SinusoidalPositions(4),
    "learned positions": lambda: nn.LearnedPositions(9, 4, rng=0),
    "transformer": lambda: nn.TransformerEncoderLayer(4, 2, 8, rng=0),
}


@pytest.fixture(autouse=True)
def _on_the_second_device():
    with use_backend("array_api_strict", HOME.device):
        yield


def test_the_guard_counts():
    x = random(HOME, 3)
    with counted(HOME) as log:
        to_numpy(x)
        if x[0] > 0 or x[0] <= 0:
            float(x[1])
    assert log[0] == "to_device"
    assert sorted(log[1:]) in (["__bool__", "__float__"], ["__bool__", "__bool__", "__float__"])
    with counted(HOME) as log:
        x[x > 0]
        x[0], x[1:, ...]
    assert log == ["__getitem__"]
    with pytest.raises(RuntimeError, match="device1"):
        np.asarray(x)


@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_copy_nothing(name, steps):
    layer, x, state = LAYERS[name](), random(HOME, steps, 2, 3), None
    control = {"lengths": [steps, 1], "mask": np.ones((steps, 2), bool), "reset": np.zeros((steps, 2), bool)}
    for options in ({}, control):
        with counted(HOME) as log:
            output, state, states = layer(x, state, **options, return_all_states=True)
            ops.sum(output).backward()
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        assert log == []
        assert states[0].device == HOME.device


def test_lengths_on_the_device_cost_one_copy():
    lengths = HOME.asarray(np.array([4, 2]))
    with counted(HOME) as log:
        nn.LSTM(3, 4, num_layers=2, rng=0)(random(HOME, 4, 2, 3), lengths=lengths)
    assert log == ["to_device"]


@pytest.mark.parametrize("name", SMALL)
def test_small_layers_copy_nothing(name):
    layer, x = SMALL[name](), Tensor(random(HOME, 5, 2, 4), requires_grad=True)
    if "positions" in name:
        layer(x)  # makes its table once
    with counted(HOME) as log:
        ops.sum(layer(x)).backward()
    assert log == []


def test_attention_copies_nothing_where_masks_come_from_the_host():
    layer, x = nn.MultiheadAttention(4, 2, rng=0), random(HOME, 5, 2, 4)
    mask = np.array([[True, True, True, False, False]] * 2).T
    with counted(HOME) as log:
        output, _ = layer(x, x, x, mask=mask)
        ops.sum(output).backward()
    assert log == []


@pytest.mark.parametrize("attention", [None, "dot", "general", "additive"])
def test_sequence_to_sequence_looks_at_each_argument_once(attention):
    def copies(steps):
        encoder = nn.Encoder(7, 5, embedding_dim=3, rng=0)
        decoder = nn.Decoder(7, 5, embedding_dim=3, attention=attention, memory_size=5, rng=0)
        model = nn.Seq2Seq(encoder, decoder, start=0, end=1, rng=0)
        tokens = HOME.asarray(np.full((steps, 2), 3))
        with counted(HOME) as log:
            outputs = model(tokens, tokens, [steps, 1], [steps, 2])
            cross_entropy(outputs, tokens).backward()
        return log

    assert len(copies(3)) == len(copies(9)) <= 5, copies(3)


@pytest.mark.parametrize("check", [True, False])
def test_embedding_looks_at_its_input_once(check):
    layer, x = nn.Embedding(7, 3, padding_idx=0, check=check, rng=0), HOME.asarray(np.array([[0, 6], [2, 2]]))
    with counted(HOME) as log:
        ops.sum(layer(x)).backward()
    assert log == ["to_device"] * check


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "bce_with_logits"])
def test_losses_copy_nothing(name):
    x, y = Tensor(random(HOME, 4, 3), requires_grad=True), random(HOME, 4, 3, seed=1)
    for mask in (None, HOME.asarray(np.array([True, False, True, True]))):
        with counted(HOME) as log:
            getattr(losses, name)(x, y, mask).backward()
        assert log == []


def test_cross_entropy_looks_at_its_classes_once():
    x, y = Tensor(random(HOME, 4, 3), requires_grad=True), HOME.asarray(np.array([0, 2, -100, 1]))
    with counted(HOME) as log:
        cross_entropy(x, y, weight=HOME.asarray(np.ones(3, "float32"))).backward()
    assert log == ["to_device"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_copy_nothing(name):
    layer = nn.Linear(3, 4, rng=0)
    optimizer = OPTIMIZERS[name](layer.parameters())
    for _ in range(2):
        mse(layer(random(HOME, 5, 3)), random(HOME, 5, 4)).backward()
        with counted(HOME) as log:
            optimizer.step()
            optimizer.zero_grad()
        assert log == []


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipping_copies_once_for_all_parameters(clip):
    layer = nn.LSTM(3, 4, num_layers=2, rng=0)
    ops.sum(layer(random(HOME, 5, 2, 3))[0]).backward()
    with counted(HOME) as log:
        clip(layer.parameters(), 1e-3)
    assert log == ["to_device"]


@pytest.mark.parametrize("steps", [3, 12])
def test_training_copies_once_an_epoch(steps):
    class Model(nn.Module):
        def __init__(self):
            self.lstm, self.out = nn.LSTM(3, 4, rng=0), nn.Linear(4, 1, rng=0)

        def forward(self, x):
            return self.out(self.lstm(x)[0][-1])

    model = Model()
    x, y = random(HOME, steps, 8, 3), random(HOME, 1, 8, 1)
    batches = Batches(x, y, batch_size=2, shuffle=True, rng=0, axis=1)
    with counted(HOME) as log:
        history = fit(
            model, batches, lambda m, b: mse(m(b[0]), b[1][0, ...]), Adam(model.parameters()), epochs=2, progress=False
        )
    assert log == ["to_device"] * 2
    assert np.isfinite(history["loss"]).all()


class Top(nn.Module):
    def __init__(self, body, features):
        self.body, self.out = body, nn.Linear(features, 2, rng=0)


def recurrent(model, x, lengths):
    control = {"lengths": lengths, "mask": x[..., 0] == x[..., 0], "reset": x[..., 0] != x[..., 0]}
    return model.body(x, **control)[0]


def attended(model, x, lengths):
    memory = model.body.prepare(x, lengths=lengths)
    return model.body(x, memory)[0]


def encoded(model, x, lengths):
    return model.body(x, lengths=lengths, causal=True)


BODIES = {
    "lstm": (lambda: nn.LSTM(4, 4, rng=0), recurrent, 4),
    "gru": (lambda: nn.GRU(4, 4, 2, rng=0), recurrent, 4),
    "bidirectional": (lambda: nn.LSTM(4, 4, 2, bidirectional=True, dropout=0.5, rng=0), recurrent, 8),
    "attention": (lambda: nn.AdditiveAttention(4, 4, 4, rng=0), attended, 4),
    "transformer": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, rng=0), 2), encoded, 4),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_training_with_lengths_and_masks_on_the_device_copies_once_an_epoch(body):
    make, call, features = body
    model = Top(make(), features)
    x, y, lengths = random(HOME, 5, 8, 4), random(HOME, 1, 8, 2), HOME.asarray(np.array([[5, 0, 3, 1] * 2]))

    def loss(model, batch):
        outputs = model.out(call(model, batch[0], batch[2][0, ...]))
        return mse(outputs, random(HOME, *outputs.shape), lengths_to_mask(batch[2][0, ...], 5))

    with counted(HOME) as log:
        fit(
            model,
            Batches(x, y, lengths, batch_size=2, axis=1),
            loss,
            Adam(model.parameters()),
            epochs=2,
            clip_value=0.1,
            progress=False,
        )
    assert log == ["to_device"] * 2


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("attention", [None, "dot"])
def test_training_sequence_to_sequence_copies_once_an_epoch(attention, ratio):
    encoder = nn.Encoder(7, 5, embedding_dim=3, rng=0)
    decoder = nn.Decoder(7, 5, embedding_dim=3, attention=attention, memory_size=5, rng=0)
    model = nn.Seq2Seq(encoder, decoder, start=0, end=1, rng=0)
    tokens, lengths = HOME.asarray(np.full((4, 8), 3)), HOME.asarray(np.full((1, 8), 3))

    def loss(model, batch):
        x, n = batch[0], batch[1][0, ...]
        return cross_entropy(model(x, x, n, n), x, mask=lengths_to_mask(n, 4))

    options = {"epochs": 2, "callbacks": [TeacherForcing(ConstantRatio(ratio))], "progress": False}
    with counted(HOME) as log:
        fit(model, Batches(tokens, lengths, batch_size=2, axis=1), loss, Adam(model.parameters()), **options)
    assert log == ["to_device"] * 2


def test_estimators_copy_once_an_epoch_and_once_a_prediction():
    draws = np.random.default_rng(0)
    texts = [" ".join(draws.choice(["good", "bad", "film", "the"], 5)) for _ in range(30)]
    classifier = TextClassifier(embedding=4, hidden=4, epochs=2, batch_size=4, validation=0.0, count_ratios=0.0)
    forecaster = Forecaster(hidden=4, window=10, epochs=2, batch_size=16, validation=0.0, members=2)
    characters, text = CharacterModel(hidden=4, embedding=3, chunk=5, batch_size=4, epochs=2), "to be or not " * 99
    series = np.sin(np.arange(120) / 5)
    for expected, call in [
        (2, lambda: classifier.fit(texts, [text.split()[0] in ("good", "film") for text in texts])),
        (1, lambda: classifier.predict(texts)),
        (2 * (2 + 1), lambda: forecaster.fit(series)),  # and what each member errs by
        (2, lambda: forecaster.predict(12)),
        (2 * 2, lambda: characters.fit(text[:-700])),  # with validation
        (1, lambda: characters.bits_per_character(text)),
    ]:
        with counted(HOME) as log:
            call()
        assert len(log) == expected, (expected, log)


def test_what_is_made_stands_where_the_model_is():
    layer = nn.LSTM(3, 4, rng=0)
    output, (h, c) = layer(random(HOME, 5, 2, 3))
    ops.sum(output).backward()
    arrays = [output.data, h.data, c.data, *(p.data for p in layer.parameters()), *layer.state_dict().values()]
    arrays += [p.grad.data for p in layer.parameters()]
    assert {str(array.device) for array in arrays} == {str(HOME.device)}


def test_a_default_elsewhere_moves_nothing():
    x = Tensor(np.ones(3), requires_grad=True)  # its sum is a np.float64, which is a float of Python's too
    loss = ops.sum(x)
    loss.backward()
    assert type(loss.data) is type(x.grad.data) is np.ndarray


def test_float32_stays_float32():
    layer = nn.Sequential(nn.LSTM(3, 4, rng=0), nn.LayerNorm(4), nn.Dropout(0.5, rng=0), nn.Linear(4, 2, rng=0))
    optimizer = Adam(layer.parameters())
    mse(layer(random(HOME, 5, 2, 3)), random(HOME, 5, 2, 2)).backward()
    assert {str(p.grad.dtype).rsplit(".")[-1] for p in layer.parameters()} == {"float32"}
    optimizer.step()
    assert {str(p.data.dtype).rsplit(".")[-1] for p in layer.parameters()} == {"float32"}


# --- other libraries ------------------------------------------------------------------------------------------------


def test_torch_tensors_are_taken_over_without_a_copy():
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    ours = to_backend(theirs, "numpy")
    theirs[0, 0] = 7.0
    assert type(ours) is np.ndarray
    assert ours[0, 0] == 7.0
    back = torch.from_dlpack(Tensor(ours).data)
    assert back.data_ptr() == theirs.data_ptr()
    np.testing.assert_array_equal(to_numpy(to_backend(theirs, HOME)), ours)


def test_torch_tensors_are_not_taken_silently():
    torch = pytest.importorskip("torch")
    for take in (Tensor, nn.Linear(3, 2), xprnn.namespace):
        with pytest.raises(TypeError, match=r"torch Tensor on device cpu; expected an array of NumPy or CuPy.*to_back"):
            take(torch.ones(3))


def test_arrays_on_a_gpu_are_taken_over_by_dlpack():
    """With stand-ins for CuPy's namespace and for a CUDA tensor of PyTorch's."""

    class OnGPU:
        def __dlpack_device__(self):
            return (2, 0)

    class Namespace:
        asarray = staticmethod(lambda values, dtype=None, device=None: values)

        @staticmethod
        def from_dlpack(array):
            taken.append(array)
            return np.ones(2)

    theirs, taken, cupy = OnGPU(), [], xprnn.backend.Backend("cupy", Namespace)
    np.testing.assert_array_equal(cupy.asarray(theirs), np.ones(2))
    assert taken == [theirs]
    cupy.asarray(np.ones(2))
    assert taken == [theirs]
    with pytest.raises(TypeError, match="is a OnGPU"):
        to_backend(theirs, "numpy")
