import numpy as np
import pytest
from helpers import host, sequence_call

from xprnn import Tensor, cells, explain, grad, nn, no_grad, settings, use_kernels
from xprnn.backend import get_backend
from xprnn.engine import dispatch, reference
from xprnn.engine.dispatch import REFERENCE, Impl, select


@pytest.fixture
def ran():
    return []


@pytest.fixture
def fast(monkeypatch, ran):
    """An implementation that stands before the reference and takes LSTMs only."""

    def reasons(call):
        return [] if isinstance(call.cell, cells.LSTM) else ["only LSTM", "no other cell"]

    def forward(call):
        ran.append(f"fast forward, keep={call.keep}")
        result, trace = reference.forward(call)
        return result, ("fast", trace)

    def backward(call, cache, dsequences, dfinal, need_dx):
        name, trace = cache
        ran.append(f"{name} backward, need_dx={need_dx}")
        return reference.backward(call, trace, dsequences, dfinal, need_dx)

    impl = Impl("fast", reasons, forward, backward)
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [impl, REFERENCE])
    return impl


def call(cell):
    return sequence_call(cell, get_backend("numpy"))


X = np.ones((4, 2, 3), "float32")


def test_the_first_without_reasons_runs(fast):
    assert select(call(cells.LSTM())) is fast
    assert select(call(cells.GRU())) is REFERENCE


def test_reference_stands_last_and_takes_everything():
    assert dispatch.IMPLEMENTATIONS[-1] is REFERENCE
    assert REFERENCE.reasons_against(call(cells.GRU())) == []


def test_forcing_one(fast):
    with use_kernels("reference"):
        assert select(call(cells.LSTM())) is REFERENCE
        with use_kernels("auto"):
            assert select(call(cells.LSTM())) is fast
        with (
            use_kernels("fast"),
            pytest.raises(RuntimeError, match=r"'fast'\): it cannot run .*only LSTM; no other cell"),
        ):
            select(call(cells.GRU()))
        assert select(call(cells.LSTM())) is REFERENCE
    assert select(call(cells.LSTM())) is fast


@pytest.mark.usefixtures("fast")
def test_forcing_an_unknown_one_changes_nothing():
    with use_kernels("reference"):
        with pytest.raises(ValueError, match="'gpu' is unknown; expected one of 'auto', 'fast', 'reference'"):
            use_kernels("gpu")
        assert select(call(cells.LSTM())) is REFERENCE


@pytest.mark.usefixtures("fast")
def test_whoever_ran_forward_runs_backward(ran):
    layer = nn.LSTM(3, 2, rng=0)
    loss = layer(X)[0].sum()
    with use_kernels("reference"):  # comes too late for this graph
        loss.backward()
    assert ran == ["fast forward, keep=True", "fast backward, need_dx=False"]


@pytest.mark.usefixtures("fast")
def test_nothing_is_kept_where_nothing_will_be_differentiated(ran):
    layer = nn.LSTM(3, 2, rng=0)
    for parameter in layer.parameters():
        parameter.requires_grad = False
    layer(X)
    assert ran == ["fast forward, keep=False"]


@pytest.mark.usefixtures("fast")
def test_explain_says_who_runs_and_why_not_the_others():
    model = nn.Sequential(nn.LSTM(3, 2, rng=0), nn.GRU(2, 2, bidirectional=True, rng=0), nn.Linear(4, 1))
    assert explain(model, X).splitlines() == [
        "LSTM, T=4 B=2 I=3, forward in time",
        "  fast: runs",
        "  reference: declines (another comes first)",
        "GRU, T=4 B=2 I=2, forward in time",
        "  fast: declines (only LSTM; no other cell)",
        "  reference: runs",
        "GRU, T=4 B=2 I=2, backward in time",
        "  fast: declines (only LSTM; no other cell)",
        "  reference: runs",
    ]
    with use_kernels("reference"):
        assert "  fast: declines (not forced)" in explain(nn.LSTM(3, 2), X)


def test_explain_of_a_model_without_recurrence():
    assert explain(nn.Linear(3, 2), X) == "no recurrent layer was called"


def test_forcing_does_not_change_numbers(fast):
    layer = nn.LSTM(3, 2, rng=0)
    with use_kernels("reference"):
        expected = host(layer(X)[0])
    np.testing.assert_array_equal(host(layer(X)[0]), expected)


def test_blocks_that_begin_at_once_leave_nothing_behind():
    one, other = use_kernels("reference"), use_kernels("compiled")  # as two threads do, each before the other enters
    with one, other:
        pass
    assert settings.KERNELS.process is None
    use_kernels("compiled")
    with one:
        assert settings.KERNELS.get() == "reference"
    assert settings.KERNELS.process == "compiled"


@pytest.mark.parametrize(
    ("base", "arguments"),
    [
        (cells.EchoState, (0.5,)),
        (cells.MLSTM, (2,)),
        (cells.LMU, (3, 1, False)),
        (cells.MinGRU, ()),
        (cells.SRU, ()),
        (cells.LRU, (4,)),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_cell_with_a_step_of_its_own_takes_that_step_whatever_else_it_inherits(base, arguments):
    class Own(base):
        def step(self, w, zx, state):
            (h, *rest), saved = super().step(w, zx, state)
            return (2.0 * h, *rest), saved

        if base is cells.EchoState:  # the only one that writes its way back beside its step
            step_vjp = base.step_vjp

    layer, x = nn.RecurrentLayer(Own(*arguments), 3, 8, dtype="float64", rng=0), np.ones((20, 4, 3))
    if base is cells.EchoState:  # whose kernel is for few connections
        layer.weight_hh_l0.data = layer.weight_hh_l0.data * np.eye(8)[::-1] * (np.arange(8) < 2)
    found = layer(Tensor(x))[0]
    with no_grad():
        inferred = layer(x)[0].data
    with use_kernels("reference"):
        expected = layer(x)[0].data
    np.testing.assert_allclose(found.data, expected, atol=1e-12)
    np.testing.assert_allclose(inferred, expected, atol=1e-12)
    given = Tensor(x, requires_grad=True)
    gradients = [grad(layer(given)[0].sum(), [given], create_graph=composed)[0].data for composed in (False, True)]
    if base is not cells.EchoState:
        np.testing.assert_allclose(*gradients, atol=1e-12)
