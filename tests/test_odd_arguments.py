"""What is no argument at all is refused by its name: not by an attribute it lacks, nor by NumPy's words for it."""

import os

import numpy as np
import pytest

import xprnn
from xprnn import Parameter, Tensor, cells, data, diagnose, distributed, estimators, nn, ops, testing, train
from xprnn.interop import c, keras, nam, onnx, rtneural
from xprnn.nn import init

X, IDS = np.ones((3, 2, 4), "float32"), np.zeros((3, 2), "int64")
PAIR = np.array([None, "a"], dtype=object)  # whose comparison with a word is an array
WHERE = Parameter(X)


def optimizer(kind=train.SGD):
    parameter = Parameter(X)
    parameter.grad = Tensor(X)
    return kind([parameter], lr=0.1)


def lstm():
    return nn.LSTM(4, 3, rng=0)


def assigned(thing, name, value):
    setattr(thing, name, value)


def evaluated(value, **given):
    return train.evaluate(**{"model": lstm(), "batches": [X], "loss": lambda m, b: ops.sum(m(b)[0])} | given)


FORECASTER = estimators.Persistence()
WORDS = {  # what is one of some words
    "use_precision: ": xprnn.use_precision,
    "use_kernels: ": xprnn.use_kernels,
    "backend ": xprnn.use_backend,
    "nonlinearity is": cells.Elman,
    "space is": cells.MinGRU,
    "side is": lambda v: data.lengths_to_mask([1], side=v),
    "dtype is": lambda v: data.pad_sequences([[1]], dtype=v),
    "mode is": lambda v: train.EarlyStopping(1, mode=v),
    "reduction is": lambda v: train.mse(X, X, reduction=v),
    "activation is": lambda v: nn.TransformerEncoderLayer(4, 2, activation=v),
    "unknown is": lambda v: estimators.NaiveBayes().fit(["a", "b"], ["x", "y"]).predict(["a"], unknown=v),
}
REFUSED = {  # what errors begin with or say: a call of a wrong value, and the values
    "step: where is|where has": (lambda v: optimizer().step(v), (True, 3, "x", [])),
    "counts is": (lambda v: assigned(optimizer(), "counts", v), (None, 3)),
    "SGD: parameters is": (lambda v: train.SGD(v, lr=0.1), (None, 3)),
    "Cosine: optimizer is": (lambda v: train.Cosine(v, 3), (None, "x", PAIR)),
    "evaluate: model is": (lambda v: evaluated(None, model=v), (None, 3)),
    "evaluate: batches is": (lambda v: evaluated(None, batches=v), (None, 3)),
    "evaluate: loss is": (lambda v: evaluated(None, loss=v), (None, 3)),
    "huber: delta is": (lambda v: train.huber(X, X, delta=v), (None, "x", [])),
    "ignore_index is": (lambda v: train.cross_entropy(X, IDS, ignore_index=v), (None, [], 2.5)),
    "cross_entropy: weight is": (lambda v: train.cross_entropy(X, IDS, weight=v), (True, 3, "x")),
    "k1 is": (lambda v: train.truncated_bptt(lstm(), X, k1=v), (None, "x", np.nan, 2.5)),
    "layer is": (lambda v: train.truncated_bptt(v, X, k1=1), (None, 3)),
    "LinearRatio: i is": (train.LinearRatio(3), (None, "x")),
    "load_checkpoint: model is": (lambda v: train.load_checkpoint("no such file", model=v), (None, 3)),
    "write_tensors: arrays is": (lambda v: train.write_tensors("a", v, {}), (None, 3, [])),
    "monitor is": (lambda v: train.EarlyStopping(1, monitor=v), (True, 3, PAIR)),
    "metadata is": (lambda v: nam.Capture(nn.LSTM(1, 2), nn.Linear(2, 1), metadata=v), (3, None, [], {3: 1})),
    "c.export: states is": (lambda v: c.export(lstm(), "a", states=v), (3, True)),
    "to_model: lengths is": (lambda v: onnx.to_model(lstm(), lengths=v), (PAIR, "no", 3)),
    "to_model: states is": (lambda v: onnx.to_model(lstm(), states=v), (PAIR, "no", 3)),
    "keras.set_weights: keras_model is": (lambda v: keras.set_weights(v, lstm()), (None, 3)),
    r"KerasModel: layers\[0\] is": (keras.KerasModel, (None, 3)),
    "init: shape": (lambda v: init.uniform(v, 1.0), (None, 2.5, (True,), "x", (-1,))),
    "init: bound is": (lambda v: init.uniform((2, 2), v), (None, "x", [], np.nan, -1.0)),
    "init: std is": (lambda v: init.normal((2, 2), v), (None, np.nan, -1.0)),
    "init: gain is": (lambda v: init.orthogonal((2, 2), v), (None, "x", np.nan)),
    "init: value is": (lambda v: init.constant((2, 2), v), (None, "x")),
    "padding_idx is": (lambda v: nn.Embedding(3, 2, v), ("x", [], 2.5, True)),
    "CellModule: cell is": (lambda v: nn.CellModule(v, 2, 3), (None, 3)),
    "Projected: cell is": (lambda v: cells.Projected(v, 2), (None, 3)),
    "Decoder: memory_size is": (lambda v: nn.Decoder(3, 2, memory_size=v), ("x", 2.5)),
    "axis is": (lambda v: ops.sum(X, axis=v), ("x", 2.5, PAIR)),
    "axis is .*; expected an": (lambda v: ops.softmax(X, axis=v), (None, "x", [], 2.5)),
    "masked_softmax: axis is": (lambda v: nn.masked_softmax(X, axis=v), (None, "x", 2.5)),
    "permute_dims: axes are": (lambda v: ops.permute_dims(X, v), ((0, 1), (0, 1, 1), ())),
    "reshape: shape is": (lambda v: ops.reshape(X, v), (None, 2.5, "x", PAIR)),
    "take: indices is": (lambda v: ops.take(X, v), (True, 3, "x")),
    "concat: arrays is": (ops.concat, (None, 3)),
    "astype: dtype is": (lambda v: ops.astype(X, v), (None, [], PAIR)),
    "exp: x is": (ops.exp, (PAIR,)),
    "add: ": (lambda v: ops.add(WHERE, v), (None, np.ones(5), PAIR)),
    "requires_grad is": (lambda v: Tensor(X, requires_grad=v), (None, [], PAIR)),
    "grad: cotangents is": (lambda v: xprnn.grad(ops.sum(WHERE), [WHERE], v), (True, 3)),
    "rng is": (lambda v: nn.Linear(2, 2, rng=v), (-1, "x", 2.5)),
    "device is": (lambda v: xprnn.use_backend("numpy", v), (3, "x", PAIR)),
    "explain: model is": (lambda v: xprnn.explain(v, X), (None, 3)),
    "gradient_flow: loss is": (lambda v: diagnose.gradient_flow(lstm(), X, v), (True, "x")),
    "saturation: run is": (lambda v: diagnose.saturation(lstm(), X, v), (True, "x")),
    "check_gradients: f is": (lambda v: testing.check_gradients(v, [np.ones(2)]), (None, 3)),
    "check_gradients: inputs": (lambda v: testing.check_gradients(ops.tanh, v), (None, 3, "x")),
    "check_gradients: rtol is": (lambda v: testing.check_gradients(ops.tanh, [np.ones(2)], rtol=v), (None, "x")),
    "check_gradients: rng is": (lambda v: testing.check_gradients(ops.tanh, [np.ones(2)], rng=v), (None, -1, 2.5)),
    "StandardScaler": (lambda v: data.StandardScaler().fit(v), (None, 3, "x", PAIR)),
    "character_streams: ids": (lambda v: data.character_streams(v, 2), (None, 3, "x")),
    "Alphabet.decode: ids": (data.Alphabet("ab").decode, (None, 2.5, PAIR)),
    "memoryless_copy_loss: delay is": (data.memoryless_copy_loss, (None, "x", -1)),
    "harmonics: periods": (lambda v: data.harmonics(np.arange(3), v), (None, 3, ["x"], [0.0])),
    "Vocabulary: tokens is": (data.Vocabulary, (None, 3)),
    "Vocabulary: specials is": (lambda v: data.Vocabulary(["a"], v), (None, 3)),
    "Vocabulary: the state is": (data.Vocabulary.from_state_dict, (None, 3, "x")),
    "WordVectors: ": (lambda v: data.WordVectors(("a",), v), (None, 3, "x")),
    "vocabulary is": (data.WordVectors(("a",), np.ones((1, 2), "f4")).table, (None, 3)),
    "Calendar.label: row is": (data.Calendar(np.arange(3).astype("M8[D]")).label, (None, "x", 2.5)),
    "there is no column": (lambda v: estimators.long_table({"a": [1]}, id=v), ([], PAIR)),
    "callbacks is": (lambda v: estimators.Forecaster(window=2).fit(np.arange(9.0), callbacks=v), (None, 3)),
    "baselines is": (lambda v: estimators.Forecaster(window=2).backtest(np.arange(9.0), baselines=v), (None, 3)),
    "Divided: batches is": (data.Divided, (None, 3)),
    "in_threads: size is": (lambda v: distributed.in_threads(len, v), (None, 0, 1.5, "x", True)),
    "each: items is": (lambda v: distributed.each(len, v), (None, 3)),
    "executor is": (lambda v: estimators.backtest([FORECASTER], np.arange(9.0), executor=v), (3, "x")),
    "vectors is": (lambda v: estimators.TextClassifier().fit(["a", "b"] * 9, [0, 1] * 9, vectors=v), (True, "x")),
}


@pytest.mark.parametrize("said", WORDS)
def test_what_is_no_word(said):
    with pytest.raises(ValueError, match=said):
        WORDS[said](PAIR)


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_refused(said):
    call, values = REFUSED[said]
    for value in values:
        with pytest.raises((TypeError, ValueError), match=said):
            call(value)


PATHS = {
    "train.load_weights": train.load_weights,
    "train.write_tensors": lambda v: train.write_tensors(v, {"a": X}, {}),
    "rtneural.load": rtneural.load,
    "onnx.load": onnx.load,
    "torch.load": lambda v: __import__("xprnn.interop.torch.files", fromlist=["load"]).load(v),
    "read_characters": data.read_characters,
    "read_csv": data.read_csv,
    "read_lines": data.read_lines,
    "read_table": data.read_table,
    "read_word_vectors": data.read_word_vectors,
}


@pytest.mark.parametrize("name", PATHS)
def test_a_number_is_no_path(name, tmp_path):
    """A number would be an open file of the process, which would be read, and closed behind its owner's back."""
    with open(tmp_path / "mine", "wb") as mine:
        for wrong in (mine.fileno(), None, True, [], PAIR):
            with pytest.raises(TypeError, match="path is .*; expected a str or a path"):
                PATHS[name](wrong)
        os.fstat(mine.fileno())
