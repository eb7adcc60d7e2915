"""Every option that is True or False takes these and nothing else: "no" would be true."""

import inspect
from functools import partial
from types import FunctionType

import numpy as np
import pytest
from helpers import exported

import xprnn
from xprnn import cells, data, diagnose, estimators, nn, ops, testing, train
from xprnn.estimators.estimator import Estimator

X, IDS = np.ones((3, 2, 4), "float32"), np.zeros((3, 2), "int64")
SUM = ops.sum(xprnn.Parameter(X))


class Held:
    state_sizes = (2,)

    def step(self, x, state):
        return state


def model():
    return nn.Linear(4, 2, rng=0)


def optimizer(kind):
    return lambda **flag: kind(model().parameters(), lr=0.1, **flag)


def seq2seq(**flag):
    encoder, decoder = nn.Encoder(5, 4, embedding_dim=2), nn.Decoder(5, 4, embedding_dim=2)
    return nn.Seq2Seq(encoder, decoder, start=0, end=1)(IDS, IDS, **flag)


def forward(layer, **arguments):
    return lambda **flag: layer(X, **arguments, **flag)


def fit(**flag):
    batches = data.Batches(X[0], batch_size=1)
    train.fit(model(), batches, lambda net, batch: ops.sum(net(*batch)), optimizer(train.SGD)(), epochs=0, **flag)


CALLS = {
    "Tensor": lambda **flag: xprnn.Tensor(X, **flag),
    "Parameter": lambda **flag: xprnn.Parameter(X, **flag),
    "Tensor.backward": lambda **flag: SUM.backward(**flag),
    "grad": lambda **flag: xprnn.grad(SUM, [SUM], **flag),
    "debug": xprnn.debug,
    **{name: lambda name=name, **flag: getattr(ops, name)(X, **flag) for name in ("sum", "mean", "var", "max", "min")},
    "vector_norm": lambda **flag: ops.vector_norm(X, **flag),
    "logsumexp": lambda **flag: ops.logsumexp(X, **flag),
    "astype": lambda **flag: ops.astype(X, "float64", **flag),
    **{kind.__name__: partial(kind, 4, 4) for kind in exported(nn, nn.RecurrentLayer, nn.CellModule)},
    "RecurrentLayer": lambda **flag: nn.RecurrentLayer(cells.LSTM(), 4, 2, **flag),
    "CellModule": lambda **flag: nn.CellModule(cells.LSTM(), 4, 2, **flag),
    "SequenceLayer.forward": forward(nn.LSTM(4, 2)),
    "Timed.forward": forward(nn.CfC(4, 2)),
    "GRUD.forward": forward(nn.GRUD(4, 2)),
    "Recurrent": lambda **flag: nn.Recurrent(Held(), **flag),
    "Module.load_state_dict": lambda **flag: model().load_state_dict(model().state_dict(), **flag),
    "Module.train": lambda **flag: model().train(**flag),
    "Module.mode": lambda **flag: model().mode(**flag).__enter__(),
    "CausalConv": lambda **flag: nn.CausalConv(4, 2, 2, **flag),
    "EchoState": lambda **flag: nn.EchoState(4, 30, **flag),
    "TCN": lambda **flag: nn.TCN(4, [2], **flag),
    "Linear": lambda **flag: nn.Linear(4, 2, **flag),
    "LayerNorm": lambda **flag: nn.LayerNorm(4, **flag),
    "Embedding": lambda **flag: nn.Embedding(4, 2, **flag),
    "SinusoidalPositions": lambda **flag: nn.SinusoidalPositions(4, **flag),
    "LearnedPositions": lambda **flag: nn.LearnedPositions(3, 4, **flag),
    "LastPooling": nn.LastPooling,
    "DotAttention": nn.DotAttention,
    "MultiheadAttention": lambda **flag: nn.MultiheadAttention(4, 2, **flag),
    "MultiheadAttention.forward": forward(nn.MultiheadAttention(4, 2)),
    "TransformerEncoderLayer": lambda **flag: nn.TransformerEncoderLayer(4, 2, **flag),
    "EncoderBase.forward": forward(nn.TransformerEncoderLayer(4, 2)),
    "Encoder": lambda **flag: nn.Encoder(4, 2, **flag),
    "Decoder.forward": forward(nn.Decoder(4, 2), state=None),
    "Seq2Seq.forward": seq2seq,
    **{kind.__name__: optimizer(kind) for kind in exported(train, train.Optimizer)},
    "Checkpoint": lambda **flag: train.Checkpoint("unwritten", **flag),
    "EarlyStopping": lambda **flag: train.EarlyStopping(1, **flag),
    "ctc_loss": lambda **flag: train.ctc_loss(X, IDS[:2], [3, 3], [0, 0], **flag),
    "fit": fit,
    "Batches": lambda **flag: data.Batches(X, batch_size=1, **flag),
    "Streamed": lambda **flag: data.Streamed(X, batch_size=1, **flag),
    "Buckets": lambda **flag: data.Buckets([[1]], batch_size=1, **flag),
    "Vocabulary.encode": lambda **flag: data.Vocabulary(["a"]).encode([], **flag),
    "Vocabulary.decode": lambda **flag: data.Vocabulary(["a"]).decode([], **flag),
    "pad_sequences": lambda **flag: data.pad_sequences([[1]], **flag),
    "lengths_to_mask": lambda **flag: data.lengths_to_mask([1], **flag),
    "unpad": lambda **flag: data.unpad(X, [1, 1], **flag),
    "split_words": lambda **flag: data.split_words("a", **flag),
    "Example.draw": lambda **flag: testing.Example.draw(nn.LSTM(4, 2), 4, **flag),
    "GeneralLSTM": cells.GeneralLSTM,
    "NaiveBayes": estimators.NaiveBayes,
    **{kind.__name__: kind for kind in exported(estimators, Estimator)},
}
OTHERS = {"Hypothesis", "Run", "Parameters.get_params"}
"""Made by the library and not by its users; called by scikit-learn, with a flag that has no meaning here."""


def public():
    """(name, function or class) of all that users call; a method under the class that defines it."""
    for room in (xprnn, ops, nn, nn.init, train, data, testing, diagnose, estimators, cells):
        for name in getattr(room, "__all__", [name for name in vars(room) if not name.startswith("_")]):
            entry = getattr(room, name)
            if isinstance(entry, type) and not issubclass(entry, Exception):
                yield entry.__name__, entry
                for kind in entry.__mro__:
                    for key, method in vars(kind).items():
                        if not key.startswith("_"):
                            yield f"{kind.__name__}.{key}", getattr(method, "__func__", method)
            elif isinstance(entry, FunctionType):
                yield name, entry


def flags():
    """(name of a callable, name of a flag), each callable once."""
    seen = {id(vars(ops)[name]): name for name in vars(ops)}  # methods of Tensor are these
    for name, entry in public():
        ours = isinstance(entry, (FunctionType, type)) and entry.__module__.startswith("xprnn")
        if ours and seen.setdefault(id(entry), name) == name and name not in OTHERS:
            for parameter in inspect.signature(entry).parameters.values():
                if str(parameter.annotation).startswith("bool") or isinstance(parameter.default, bool):
                    yield name, parameter.name


@pytest.mark.parametrize(("name", "flag"), sorted(set(flags())))
def test_nothing_but_true_and_false(name, flag):
    assert name in CALLS, f"it has an option {flag}: show in CALLS how {name} is called"
    call = CALLS[name]
    for value in ("no", 2):
        with pytest.raises(ValueError, match=rf": {flag} is {value!r}; expected True or False"):
            call(**{flag: value})


@pytest.mark.parametrize("flag", [True, False, np.True_, np.False_])
def test_bools_of_python_and_numpy(flag):
    layer = nn.LSTM(4, 2, bias=flag, batch_first=flag, bidirectional=flag)
    assert (layer.bias, layer.batch_first, layer.bidirectional) == (bool(flag),) * 3
    assert type(layer.bias) is bool
