"""Kinds of NumPy arrays: those that are memory and no more are taken as arrays, others are refused by name."""

import numpy as np
import pytest

from xprnn import Parameter, Tensor, explain, host_kernels, nn, ops, use_kernels
from xprnn.backend import to_backend
from xprnn.engine.dispatch import slow_calls_told
from xprnn.train import SGD, fit


class Metres(np.ndarray):
    """As libraries of units make them."""


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((1, 2)).view(np.matrix), "an np.matrix, whose operators mean something else: use np.asarray"),
        (np.ma.MaskedArray([[1.0, 2.0]], [[0, 1]]), r"a masked array, whose mask would be lost: use x.filled\(0.0\)"),
        (
            np.ones((1, 2)).view(Metres),
            r"a \w+.Metres, a kind of NumPy array that may mean something else",
        ),
        (np.ones((1, 2)).view(np.recarray), "a numpy.recarray, a kind of NumPy array"),
    ],
    ids=["matrix", "masked", "units", "records"],
)
def test_arrays_with_a_meaning_of_their_own_are_refused_by_name(array, words):
    p, layer, x = Tensor(np.ones((1, 2))), nn.LSTM(2, 3, dtype="float64"), np.ones((4, 1, 2))
    for name, take in [
        ("argument 0", lambda: Tensor(array)),
        ("the array", lambda: to_backend(array, "numpy")),
        ("add's right operand", lambda: ops.add(p, array)),
        ("argument 0", lambda: ops.matmul(array, ops.matrix_transpose(p))),
        ("LSTM: x", lambda: layer(array)),
        ("LSTM: h_0", lambda: layer(x, (array, array))),
        ("LSTM: mask", lambda: layer(x, mask=array)),
        ("LSTM: reset", lambda: layer(x, reset=array)),
        ("LSTM: lengths", lambda: layer(x, lengths=array)),
        ("LSTM.stream: x", lambda: layer.stream().step(array)),
        ("LSTM.stream: part 0 of the state", lambda: setattr(layer.stream(), "state", (array, array))),
        ("argument 0", lambda: setattr(layer.weight_ih_l0, "data", array)),
    ]:
        with pytest.raises(TypeError, match=f"({name}) is {words}"):
            take()


def test_a_memory_map_is_an_array(tmp_path):
    mapped = np.memmap(tmp_path / "x", "float32", "w+", shape=(4, 2, 2))
    mapped[:] = np.random.default_rng(0).standard_normal(mapped.shape)
    layer, x = nn.LSTM(2, 3, rng=0), np.array(mapped)
    assert type(Tensor(mapped).data) is np.ndarray
    assert np.shares_memory(Tensor(mapped).data, mapped)
    assert explain(layer, mapped) == explain(layer, x)
    flags = np.memmap(tmp_path / "flags", "bool", "w+", shape=(4, 2))
    flags[:] = True
    lengths = np.memmap(tmp_path / "lengths", "int64", "w+", shape=(2,))
    lengths[:] = 4, 3
    state = np.memmap(tmp_path / "state", "float32", "w+", shape=(1, 2, 3))
    found, _ = layer(mapped, (state, state), lengths=lengths, mask=flags, reset=flags)
    expected, _ = layer(x, (np.array(state),) * 2, lengths=[4, 3], mask=np.array(flags), reset=np.array(flags))
    np.testing.assert_array_equal(found.data, expected.data)
    wrapped = Tensor(x)
    for y in (wrapped + mapped, mapped + wrapped, ops.where(mapped > 0, mapped, 0.0), ops.take(wrapped, lengths - 3)):
        assert type(y.data) is np.ndarray


class Complete(nn.Module):
    """Asks for kernels twice a batch."""

    def __init__(self, dtype="float32"):
        self.forward_rnn, self.other = nn.GRU(2, 3, rng=0, dtype=dtype), nn.GRU(2, 3, rng=1, dtype=dtype)

    def forward(self, x):
        return self.forward_rnn(x)[0] + self.other(x)[0]


def trained(model, x, caplog):
    """What fit says on the logger."""
    optimizer = SGD(model.parameters(), 0.01)
    fit(model, [x, x], lambda m, x: (m(x) ** 2).mean(), optimizer, epochs=2, validation=[x], progress=False)
    return [record.message for record in caplog.records if record.name == "xprnn"]


def test_fit_says_once_why_kernels_do_not_run(caplog, monkeypatch):
    monkeypatch.setattr(host_kernels, "kernels", lambda: "Numba is away")
    said = trained(Complete(), np.ones((4, 2, 2), "float32"), caplog)
    assert said == ["GRU runs without kernels, many times slower: Numba is away"]


def test_a_weight_of_numpys_own_dtype_is_refused_and_never_only_slow():
    model, x = Complete(), np.ones((4, 2, 2), "float32")
    model.forward_rnn.bias_hh_l0 = Parameter(np.zeros(9))  # easily done, and would promote all the rest
    with slow_calls_told(), pytest.raises(TypeError, match="GRU: bias_hh_l0 has dtype float64; expected float32"):
        model(x)


def test_nothing_is_told_where_all_is_as_wanted(caplog):
    x = np.ones((4, 2, 2), "float32")
    with use_kernels("reference"):
        assert trained(Complete(), x, caplog) == []  # as asked for
    assert trained(nn.Sequential(nn.LSTM(2, 3, peephole="full")), x, caplog) == []  # no kernel is made for it
    with slow_calls_told():
        Complete()(x[:0])  # nothing to run
    assert not caplog.records
