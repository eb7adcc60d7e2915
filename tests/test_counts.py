"""Counts that nothing could reach and sizes that no memory could hold are refused by name, before anything begins."""

import inspect
import sys
from functools import cache, partial
from types import FunctionType

import numpy as np
import pytest
from helpers import exported
from test_flags import IDS, X, model, public

from xprnn import Tensor, cells, data, diagnose, distributed, estimators, nn, ops, testing, train
from xprnn.estimators.estimator import Estimator
from xprnn.estimators.sequences.estimator import SequenceEstimator

ROWS = np.arange(40.0)
HIDDEN = {"input_size": 4, "hidden_size": 4}
SGD = train.SGD(model().parameters(), lr=0.1)
SEARCHED = {"state": None, "batch": 2, "start": 0, "end": 1, "max_length": 3}
SEQ2SEQ = nn.Seq2Seq(nn.Encoder(5, 4, embedding_dim=2), nn.Decoder(5, 4, embedding_dim=2), start=0, end=1)
TASKS = ("adding_problem", "spike_delays", "timed_spikes", "sum_sign", "first_element_recall")


def step(tokens, state):
    return np.log(np.full((len(tokens), 3), 1 / 3)), state


def fit(**given):
    net = model()
    loss = lambda net, batch: ops.sum(net(*batch))
    train.fit(net, data.Batches(X[0], batch_size=1), loss, train.SGD(net.parameters(), lr=0.1), **{"epochs": 0} | given)


@cache
def forecaster():
    return estimators.Forecaster(window=2, hidden=2, epochs=1, members=1).fit(ROWS)


@cache
def writer():
    return estimators.CharacterModel(hidden=4, embedding=2, epochs=1, batch_size=2, chunk=4).fit("abba" * 20)


def of(method, name):
    """A call of a method of something that is made when it is wanted."""
    return lambda **given: getattr(method(), name)(**given)


CALLS = {
    **{kind.__name__: partial(kind, **HIDDEN) for kind in exported(nn, nn.RecurrentLayer, nn.CellModule)},
    "RecurrentLayer": partial(nn.RecurrentLayer, cells.LSTM(), **HIDDEN),
    "CellModule": partial(nn.CellModule, cells.LSTM(), **HIDDEN),
    "EchoStateNetwork": partial(nn.EchoStateNetwork, **HIDDEN, output_size=2, connectivity=1.0),
    "split": partial(ops.split, Tensor(X[0])),
    "Linear": partial(nn.Linear, in_features=4, out_features=2),
    "Embedding": partial(nn.Embedding, num_embeddings=4, embedding_dim=2),
    "LayerNorm": nn.LayerNorm,
    "SinusoidalPositions": nn.SinusoidalPositions,
    "LearnedPositions": partial(nn.LearnedPositions, max_length=3, d_model=4),
    "AttentionPooling": partial(nn.AttentionPooling, features=4),
    "GeneralAttention": partial(nn.GeneralAttention, query_size=4, key_size=4),
    "AdditiveAttention": partial(nn.AdditiveAttention, query_size=4, key_size=4, hidden_size=4),
    "MultiheadAttention": partial(nn.MultiheadAttention, embed_dim=4, num_heads=2),
    "TransformerEncoderLayer": partial(nn.TransformerEncoderLayer, d_model=4, nhead=2),
    "TransformerEncoder": partial(nn.TransformerEncoder, nn.TransformerEncoderLayer(4, 2)),
    "CausalConv": partial(nn.CausalConv, in_channels=4, out_channels=2, kernel_size=2),
    "TCN": partial(nn.TCN, input_size=4, channels=[2]),
    "TCN.stream": nn.TCN(4, [2]).stream,
    "Encoder": partial(nn.Encoder, **HIDDEN, embedding_dim=2),
    "Decoder": partial(nn.Decoder, output_size=4, hidden_size=4, embedding_dim=2, attention="additive", memory_size=4),
    "Seq2Seq": partial(nn.Seq2Seq, SEQ2SEQ.encoder, SEQ2SEQ.decoder, start=0, end=1),
    "Seq2Seq.greedy": partial(SEQ2SEQ.greedy, IDS),
    "Seq2Seq.sample": partial(SEQ2SEQ.sample, IDS),
    "Seq2Seq.beam_search": partial(SEQ2SEQ.beam_search, IDS),
    "Seq2Seq.free_run": partial(SEQ2SEQ.free_run, IDS),
    **{name: partial(getattr(nn, name), step, **SEARCHED) for name in ("greedy", "sample", "beam_search")},
    "RecurrentLayer.stream": nn.LSTM(4, 2).stream,
    "Sequential.stream": nn.Sequential(nn.LSTM(4, 2)).stream,
    "chrono_init": partial(nn.chrono_init, nn.LSTM(4, 2)),
    "ncp_wiring": partial(
        nn.ncp_wiring, inputs=4, inter=3, command=2, motor=1, input_fanout=2, inter_fanout=1, motor_fanin=1, recurrent=1
    ),
    "identity": partial(nn.init.identity, (4, 2)),
    "orthogonal": partial(nn.init.orthogonal, (4, 2)),
    "Projected": partial(cells.Projected, cells.LSTM()),
    "EarlyStopping": train.EarlyStopping,
    "Checkpoint": partial(train.Checkpoint, "nowhere"),
    "LinearRatio": train.LinearRatio,
    **{name: partial(getattr(train, name), SGD) for name in ("StepDecay", "Warmup", "ReduceOnPlateau")},
    "Cosine": partial(train.Cosine, SGD, total=2**62 + 1),
    "fit": fit,
    "cross_entropy": partial(train.cross_entropy, X, IDS),
    "ctc_loss": partial(train.ctc_loss, X, IDS[:2], [3, 3], [0, 0]),
    "truncated_bptt": partial(train.truncated_bptt, nn.LSTM(4, 2), X, k1=1),
    "Batches": partial(data.Batches, X),
    "Streamed": partial(data.Streamed, X, batch_size=1),
    "Lanes": lambda **given: data.Lanes(X[0], **{"batch_size": 1, "chunk": 1} | given),
    "Buckets": partial(data.Buckets, [[1]], batch_size=1),
    "Drawn": partial(data.Drawn, len),
    "Vocabulary.build": partial(data.Vocabulary.build, [["a"]]),
    "Vocabulary.of_counts": partial(data.Vocabulary.of_counts, {"a": 1}),
    "pad_sequences": partial(data.pad_sequences, [[1]]),
    "lengths_to_mask": partial(data.lengths_to_mask, [1]),
    "windows": partial(data.windows, ROWS[:, None], [5]),
    "character_streams": partial(data.character_streams, IDS[0]),
    **{name: partial(getattr(data, name), steps=9, batch=2) for name in TASKS},
    "copy_memory": partial(data.copy_memory, delay=2, batch=2),
    "memoryless_copy_loss": data.memoryless_copy_loss,
    "Calendar.label": data.Calendar(np.arange(3).astype("M8[D]")).label,
    "gradient_flow": partial(diagnose.gradient_flow, nn.LSTM(4, 2), X),
    "check_gradients": partial(testing.check_gradients, ops.tanh, [np.ones(2)]),
    "check_laws": partial(testing.check_laws, nn.LSTM(4, 2)),
    "Example.draw": partial(testing.Example.draw, nn.LSTM(4, 2), input_size=4),
    **{kind.__name__: kind for kind in exported(estimators, Estimator)},
    "SeasonalNaive": estimators.SeasonalNaive,
    "AutoRegression": estimators.AutoRegression,
    "Persistence.forecast": partial(estimators.Persistence().forecast, ROWS, [9]),
    "Drift.forecast": partial(estimators.Drift().forecast, ROWS, [9]),
    "SeasonalNaive.forecast": partial(estimators.SeasonalNaive(7).forecast, ROWS, [9]),
    "backtest": partial(estimators.backtest, [estimators.Persistence()], ROWS),
    **{f"Forecaster.{name}": of(forecaster, name) for name in ("predict", "sample", "intervals")},
    "Forecaster.update": lambda **given: forecaster().update(ROWS[:1], **given),
    "RollingForecaster.backtest": lambda **given: forecaster().backtest(ROWS, **given),
    **{
        f"RollingForecaster.{name}": lambda name=name, **given: getattr(forecaster(), name)(
            ROWS, [9], **{"horizon": 1} | given
        )
        for name in ("forecast", "futures", "rolling_intervals")
    },
    "backtest_panel": partial(estimators.backtest_panel, [estimators.Persistence()], estimators.Panel([ROWS])),
    "CharacterModel.sample": lambda **given: writer().sample(**{"length": 1} | given),
    "in_threads": partial(distributed.in_threads, len),
}

COUNTED = {
    *("batch_size", "epochs", "patience", "chunk", "every", "pool", "updates", "accumulate", "total", "warmup"),
    *("max_vocabulary", "min_count", "max_size", "top_k", "jacobians", "k1", "k2", "longest", "refit", "delay"),
    *("period", "row", "washout", "start", "end", "ignore_index"),
    *("Streamed.window", "Lanes.window", "Lanes.ahead", "AutoRegression.order", "LinearRatio.steps"),
    *(f"{kind.__name__}.steps" for kind in exported(estimators, SequenceEstimator)),
}
"""What is counted up to or looked up, and takes no memory: sys.maxsize means without end."""
INNER = ("weight_shapes", "state_sizes", "sees_x", "gate_rows", "parts", "portion", "factor", "start_step")
OTHERS = {
    *("Run", "Chunk", "Backtest", "Stream", "TCNStream", "DiagonalCell", "reshape", "Calendar.require_next"),
    *("Backtest.scores", "Backtest.intervals", "CsvSeries.label", "TextClassifier.predict_best"),
    *("EchoStateNetwork.stream", "QuantizedRecurrent.stream", "PanelBacktest.scores"),
    *(f"{kind.__name__}.update" for kind in exported(train, train.Optimizer)),
    *("Optimizer.update", "Borrowed.forecast", "SeriesForecaster.forecast", "AutoRegression.forecast", "within"),
}
"""Made or called by the library and not by its users; or a fitted thing's, whose check another call here shows."""


def counted():
    """(name of a callable, name of a count), each callable once; axes are no counts, and seeds have no end."""
    seen = {id(vars(ops)[name]): name for name in vars(ops)}  # methods of Tensor are these
    for name, entry in public():
        ours = isinstance(entry, (FunctionType, type)) and entry.__module__.startswith("xprnn.")
        if not ours or entry.__module__ == "xprnn.counts" or name in OTHERS or name.endswith(INNER):
            continue
        if seen.setdefault(id(entry), name) == name:
            for parameter in inspect.signature(entry).parameters.values():
                kinds = {kind.strip() for kind in str(parameter.annotation).split("|")}
                if "axis" in parameter.name or parameter.name in ("seed", "rng"):
                    continue
                if "int" in kinds and "float" not in kinds:
                    yield name, parameter.name


@pytest.mark.parametrize(("name", "count"), sorted(set(counted())))
def test_beyond_all_numbers(name, count):
    assert name in CALLS, f"it takes a number {count}: show in CALLS how {name} is called"
    free = not COUNTED.isdisjoint((count, f"{name}.{count}"))
    for value in (10**30,) if free else (10**30, 2**62):
        with pytest.raises(ValueError, match=rf": .*\b{count} is {value}\b.*; expected"):
            CALLS[name](**{count: value})


def test_sizes_are_held_together():
    """Each could be, but not their product; the hidden size of a layer meets itself."""
    with pytest.raises(ValueError, match=f"Linear: in_features is {2**30}, out_features is {2**30}: .*2\\^44"):
        nn.Linear(2**30, 2**30)
    with pytest.raises(ValueError, match=f"LSTM: input_size is 3, hidden_size is {2**23}: weight_hh would have shape"):
        nn.LSTM(3, 2**23)
    with pytest.raises(ValueError, match=f"init: shape is \\({2**30}, {2**30}\\)"):
        nn.init.normal((2**30, 2**30))


def test_counts_without_end():
    """What people write for "always" and "all of them" is a number like others, and seeds may have 128 bits."""
    assert train.EarlyStopping(sys.maxsize).patience == sys.maxsize
    assert len(list(data.Batches(X, batch_size=sys.maxsize))) == 1
    assert estimators.Forecaster(seed=2**127).seed == 2**127
