"""The compiled engine against the reference, over cells, options and shapes that cross every block and tile."""

import math
import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
from helpers import compare, draw_call, everything
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from xprnn.kernels.cpu import host

import xprnn
from xprnn import host_kernels, nn
from xprnn.cells import LSTM, SLSTM, GatedAntisymmetric, Projected
from xprnn.tensor import Tensor
from xprnn.testing.strategies import flags, lengths
from xprnn.train import SGD

CELLS = {
    "rnn": lambda **o: nn.RNN(**o),
    "relu": lambda **o: nn.RNN(nonlinearity="relu", **o),
    "indrnn": lambda **o: nn.IndRNN(nonlinearity="tanh", **o),
    "indrnn relu": lambda **o: nn.IndRNN(**o),
    "lstm": lambda **o: nn.LSTM(**o),
    "peephole": lambda **o: nn.LSTM(peephole="diagonal", **o),
    "full peephole": lambda **o: nn.LSTM(peephole="full", **o),
    "projected": lambda **o: nn.RecurrentLayer(Projected(LSTM(), (o["hidden_size"] + 1) // 2), **o),
    "gru": lambda **o: nn.GRU(**o),
    "reset before": lambda **o: nn.GRU(reset_after=False, **o),
    "mgu": lambda **o: nn.MGU(**o),
    "ctrnn": lambda **o: nn.CTRNN(dale=0.5, nonlinearity="tanh", **o),
    "ctrnn relu": lambda **o: nn.CTRNN(**o),
    "gated antisymmetric": lambda **o: nn.RecurrentLayer(GatedAntisymmetric(0.3), **o),
    "slstm": lambda **o: nn.SLSTM(**o),
    "slstm of heads": lambda **o: nn.SLSTM(num_heads=math.gcd(6, o["hidden_size"]), forget="exp", **o),
    "layer-norm lstm": lambda **o: nn.LSTM(layer_norm=True, **o),
    "layer-norm gru": lambda **o: nn.GRU(layer_norm=True, **o),
}

EXACT = {"full peephole", "projected"}  # whose products are never rounded
PROJECTED = {
    "peephole": {"peephole": "diagonal"},
    "full peephole": {"peephole": "full"},
    "hard sigmoid": {"gate_activation": "hard_sigmoid"},
    "coupled": {"coupled": True},
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
@given(data=st.data())
def test_compiled_equals_reference(cell, dtype, data):
    steps, batch = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 14))
    inputs, hidden = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 40))
    options = {"bias": data.draw(st.booleans()), "bidirectional": data.draw(st.booleans())}
    make = partial(CELLS[cell], input_size=inputs, hidden_size=hidden, rng=1, **options)
    layer = make(dtype=dtype)
    control = {
        "lengths": data.draw(st.none() | lengths(steps, batch)),
        "mask": data.draw(st.none() | flags(steps, batch)),
        "reset": data.draw(st.none() | flags(steps, batch)),
    }
    call = draw_call(layer, steps, batch, inputs, hidden, dtype, data.draw(st.integers(0, 99)))
    compare(layer, *call, control, make(dtype="float64"))


@pytest.mark.parametrize(("steps", "batch", "inputs", "hidden"), [(70, 1, 3, 65), (40, 9, 70, 130), (33, 64, 10, 100)])
@pytest.mark.parametrize("cell", CELLS)
def test_sizes_that_use_threads_blocks_and_tails(cell, steps, batch, inputs, hidden):
    make = partial(CELLS[cell], input_size=inputs, hidden_size=hidden, num_layers=2, rng=1)
    layer = make()
    compare(layer, *draw_call(layer, steps, batch, inputs, hidden, "float32", 0), {}, make(dtype="float64"))


@pytest.mark.parametrize("name", PROJECTED)
def test_what_is_projected_may_be_any_lstm(name):
    layer, draws = nn.LSTM(3, 9, proj_size=4, bidirectional=True, rng=0, **PROJECTED[name]), np.random.default_rng(0)
    flags = draws.random((2, 8, 5)) > 0.4
    for control in ({}, {"mask": flags[0], "reset": flags[1]}, {"lengths": [8, 0, 3, 1, 7]}):
        compare(layer, *draw_call(layer, 8, 5, 3, 9, "float32", 0), control)


def test_large_values_saturate_as_in_the_reference():
    layer = nn.LSTM(3, 5, dtype="float64", rng=1)
    x = 1e3 * np.random.default_rng(0).standard_normal((6, 2, 3))
    compare(layer, x, [np.full((1, 2, 5), 50.0), np.full((1, 2, 5), -20.0)], {})


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
@pytest.mark.parametrize("name", CELLS)
def test_infinite_inputs_do_as_in_the_reference(name, infinity):
    # 3H is no multiple of a vector's lanes: what padding adds beside a gate's columns is infinity times zero
    layer = CELLS[name](input_size=3, hidden_size=7, rng=0)
    x, _ = draw_call(layer, 4, 2, 3, 7, "float32", 0)
    x[1, 0, 0] = infinity
    stream = layer.stream(2)
    found = {"stream": np.stack([np.array(stream.step(x_t)) for x_t in x])}
    for implementation in ("compiled", "reference"):
        with xprnn.use_kernels(implementation), np.errstate(invalid="ignore"):
            found[implementation] = layer(x)[0].data
    assert "relu" in name or np.isfinite(found["reference"]).any(axis=(1, 2)).all()
    np.testing.assert_allclose(found["compiled"], found["reference"], atol=1e-5)
    np.testing.assert_allclose(found["stream"], found["reference"], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["gru", "reset before", "mgu"])
def test_an_infinite_state_does_as_in_the_reference(name, dtype):
    """Where two products of a step lie side by side: padding of one adds zeros to what the other is added to."""
    for seed, (steps, batch) in [(0, (5, 3)), (1, (4, 7)), (2, (60, 90)), (5, (4, 7))]:  # one call, threads
        layer = CELLS[name](input_size=3, hidden_size=5, dtype=dtype, rng=seed)
        x, state = draw_call(layer, steps, batch, 3, 5, dtype, seed)
        state[0][0, 0, 1] = np.inf
        with np.errstate(invalid="ignore"):
            found, expected = (everything(layer, x, state, {}, way) for way in ("compiled", "reference"))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        stream = layer.stream(batch)
        stream.state = state[0]
        np.testing.assert_allclose(stream.block(x), expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_head_where_that_is_no_whole_vector(value):
    layer = nn.SLSTM(3, 6, num_heads=2, rng=0)
    x, state = draw_call(layer, 4, 2, 3, 6, "float32", 0)
    state[0][0, 1, 0] = value
    found = {}
    for name in ("compiled", "reference"):
        with xprnn.use_kernels(name), np.errstate(invalid="ignore"):
            given = [Tensor(a, requires_grad=True) for a in (x, *state)]
            output, _ = layer(given[0], tuple(given[1:]))
            gradients = xprnn.grad(output, [*given, *layer.parameters()], [Tensor(np.ones(output.shape, "float32"))])
        found[name] = [a.data for a in (output, *gradients)]
    assert np.isfinite(found["reference"][0][:, 1, 3:]).all()
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_odd_layouts_compile_nothing_new():
    from xprnn.kernels.cpu import loops

    layer, x = nn.LSTM(4, 8, rng=0), np.zeros((5, 3, 4), "float32")
    layer(Tensor(x, requires_grad=True))[0].sum().backward()
    before = len(loops.walk.signatures), len(loops.walk_back.signatures)
    fixed = x.copy()
    fixed.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype="u1")[1:].view("float32").reshape(x.shape)
    for odd in (fixed, np.asfortranarray(x), x[::-1], unaligned):
        layer(Tensor(odd, requires_grad=True))[0].sum().backward()
    assert (len(loops.walk.signatures), len(loops.walk_back.signatures)) == before


NOISE = {"zoneout": 0.3, "recurrent_dropout": 0.4, "weight_dropout": 0.2}
ALL = NOISE | {"candidate_dropout": 0.4}
NOISY = {
    "rnn": (nn.RNN, NOISE),
    "relu without zoneout": (lambda **o: nn.RNN(nonlinearity="relu", **o), {"recurrent_dropout": 0.4}),
    "lstm": (nn.LSTM, ALL | {"zoneout": (0.5, 0.2)}),
    "lstm without dropout of candidates": (nn.LSTM, NOISE),
    "gru": (nn.GRU, ALL),
    "gru without dropout": (nn.GRU, {"zoneout": 0.3}),
    "ctrnn": (nn.CTRNN, NOISE),
    "gated antisymmetric": (lambda **o: nn.AntisymmetricRNN(gated=True, **o), NOISE),
    **{name: (CELLS[name], ALL) for name in ("reset before", "mgu", "peephole", "layer-norm lstm", "layer-norm gru")},
    "slstm of heads": (lambda **o: nn.RecurrentLayer(SLSTM(7, "exp"), **o), {"zoneout": (0.3, 0.4, 0.1, 0.2)}),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NOISY)
def test_noise_is_that_of_the_reference(name, training):
    kind, noise = NOISY[name]
    draws = np.random.default_rng(0)
    controls = {"lengths": [9, 0, 4, 7, 9], "mask": draws.random((9, 5)) > 0.3, "reset": draws.random((9, 5)) > 0.7}, {}
    for control in controls:
        results = []
        for implementation in ("compiled", "reference"):
            layer = kind(input_size=3, hidden_size=21, bidirectional=True, dtype="float64", rng=0, **noise)
            x, state = draw_call(layer, 9, 5, 3, 21, "float64", 0)
            results.append(everything(layer.train(training), x, state, control, implementation))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1.0, np.abs(b).max(initial=0.0)))


@pytest.mark.parametrize("name", ["lstm", "layer-norm lstm", "layer-norm gru"])
def test_gradients_have_the_same_bits_on_however_many_threads(name, monkeypatch):
    from xprnn.kernels.cpu import small, threads

    layer = CELLS[name](input_size=3, hidden_size=9, rng=0)
    monkeypatch.setattr(small, "plan_of", lambda *call: None)
    x, state = draw_call(layer, 7, 40, 3, 9, "float32", 0)
    monkeypatch.setattr(threads, "SERIAL_BELOW", 0.0)
    found = []
    for workers in (1, 2, 3):
        monkeypatch.setattr(threads, "workers", lambda workers=workers: workers)
        found.append([a.tobytes() for a in everything(layer, x, state, {}, "compiled")])
    assert found[0] == found[1] == found[2]


def bf16(a):
    """Rounded to the nearest bfloat16, ties to even, by another way than the kernels'."""
    scale = np.exp2(np.floor(np.log2(np.abs(a, where=a != 0, out=np.ones_like(a)))) - 7)
    return (np.round(a.astype("float64") / scale) * scale).astype("float32")


def rounded_state(state):
    state = [bf16(part) for part in state]
    return state[0] if len(state) == 1 else tuple(state)


@pytest.mark.parametrize(("batch", "hidden"), [(2, 5), (1, 64), (7, 33)])
@pytest.mark.parametrize("name", [name for name in CELLS if name not in EXACT])
def test_bf16_is_float32_with_rounded_operands(name, batch, hidden):
    layer = CELLS[name](input_size=3, hidden_size=hidden, rng=0)
    x, state = draw_call(layer, 5, batch, 3, hidden, "float32", 0)
    x, state = bf16(x), rounded_state(state)
    with xprnn.no_grad(), xprnn.use_precision("bf16"):
        found, stream = layer(x, state)[0].data, layer.stream(batch)
        assert ", products of bfloat16" in xprnn.explain(layer, x)
    stream.state = state
    steps = np.stack([np.array(stream.step(x_t)) for x_t in x])
    for parameter_name, parameter in layer.named_parameters():
        if parameter_name.startswith(("weight_ih", "weight_hh")) and parameter.ndim == 2:
            assert not np.array_equal(bf16(parameter.data), parameter.data)
            parameter.data = bf16(parameter.data)
    expected = layer(x, state)[0].data
    between = name in ("reset before", "mgu")  # r h, or f h, is not among what was rounded here
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=4e-3 if between else 1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.05 if "norm" in name else 0.01)
    np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-6)  # a stream rounds its weights alone


def change_by_step(layer, other):
    SGD(layer.parameters(), lr=0.1).step()


def change_by_loading(layer, other):
    layer.load_state_dict(other.state_dict())


def change_by_assignment(layer, other):
    layer.weight_hh_l0.data = other.weight_hh_l0.data


def change_in_place(layer, other):
    layer.weight_hh_l0.data[0, 0] += 1.0


@pytest.mark.parametrize("change", [change_by_step, change_by_loading, change_by_assignment, change_in_place])
@pytest.mark.parametrize("hidden", [8, 256])  # the latter's columns are shared among threads
def test_a_changed_parameter_is_seen_by_the_next_call(change, hidden):
    layer, other = (nn.LSTM(3, hidden, rng=seed) for seed in (0, 1))
    x = np.random.default_rng(0).standard_normal((4, 1, 3)).astype("float32")
    before = layer(x)[0]
    before.sum().backward()
    change(layer, other)
    after = layer(x)[0].data
    assert not np.array_equal(before.data, after)
    with xprnn.use_kernels("reference"):
        np.testing.assert_allclose(after, layer(x)[0].data, atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru", "reset before"])
def test_gradients_of_weights_in_bf16_are_of_rounded_operands(name):
    layer = CELLS[name](input_size=3, hidden_size=33, rng=0)
    x, state = draw_call(layer, 1, 1, 3, 33, "float32", 0)
    with xprnn.use_precision("bf16"):
        layer(x, state[0] if len(state) == 1 else tuple(state))[0].sum().backward()
    blocks = 2 * 33 if name == "reset before" else None  # whose other product is with r h
    for operand, end in ((x[0, 0], "ih_l0"), (state[0][0, 0], "hh_l0")):
        dz = getattr(layer, f"bias_{end}").grad.data  # of one row: no sum rounds anything
        expected = np.outer(bf16(dz), bf16(operand))
        np.testing.assert_array_equal(getattr(layer, f"weight_{end}").grad.data[:blocks], expected[:blocks])


@pytest.mark.parametrize("name", ["lstm", "gru", "reset before"])
def test_training_in_bf16_is_near_and_goes_back_as_it_came(name):
    layer = CELLS[name](input_size=3, hidden_size=33, rng=0)
    x, state = draw_call(layer, 5, 7, 3, 33, "float32", 0)
    with xprnn.use_precision("bf16"):
        rounded = everything(layer, x, state, {}, "compiled")
        again = everything(layer, x, state, {}, "compiled")
        output = layer(Tensor(x))[0]
    for a, b, same in zip(rounded, everything(layer, x, state, {}, "compiled"), again, strict=True):
        np.testing.assert_array_equal(a, same)
        assert not np.array_equal(a, b)
        assert np.abs(a - b).max() < 0.01 * np.abs(b).max()
    found = []
    for precision in ("bf16", "float32"):
        layer.zero_grad()
        with xprnn.use_precision(precision):
            output.backward(np.ones_like(output.data), retain_graph=True)
        found.append(layer.weight_ih_l0.grad.data)
    np.testing.assert_array_equal(*found)


def test_reasons_are_given():
    x = np.zeros((3, 2, 4))
    assert "runs" in xprnn.explain(nn.LSTM(4, 5, dtype="float64"), x).splitlines()[1]
    for layer, sequence, reason in (
        (
            nn.LSTM(4, 5, dtype="float64", proj_size=2, layer_norm=True),
            x,
            "no kernel for the cell LayerNormLSTM projected to 2",
        ),
        (
            nn.LSTM(4, 5, dtype="float64", peephole="full", zoneout=0.5),
            x,
            "no kernel has zoneout, or dropout between steps, for the cell FullPeepholeLSTM",
        ),
        (
            nn.IndRNN(4, 5, dtype="float64", zoneout=0.5),
            x,
            "no kernel has zoneout, or dropout between steps, for the cell IndRNN (relu)",
        ),
        (nn.GRU(4, 5, dtype="float64"), x[:0], "there is no step or no sequence to run"),
    ):
        text = xprnn.explain(layer, sequence)
        assert f"compiled: declines ({reason})" in text
        assert "reference: runs" in text
        with xprnn.use_kernels("compiled"), pytest.raises(RuntimeError, match="it cannot run this call"):
            layer(sequence)


def test_a_subclass_of_a_cell_is_not_taken_for_it():
    from xprnn.cells import LSTM

    class Mine(LSTM):
        pass

    assert "no kernel for the cell Mine" in xprnn.explain(
        nn.RecurrentLayer(Mine(), 2, 3), np.zeros((2, 1, 2), "float32")
    )


def test_without_numba_the_reference_runs(monkeypatch):
    monkeypatch.setattr(host_kernels, "kernels", lambda: "Numba cannot be used (ImportError: gone)")
    text = xprnn.explain(nn.GRU(2, 3), np.zeros((4, 1, 2), "float32"))
    assert "compiled: declines (Numba cannot be used (ImportError: gone))" in text
    assert "reference: runs" in text


def test_two_threads_at_once():
    layer = nn.GRU(16, 64, rng=0)
    x = np.random.default_rng(0).standard_normal((200, 16, 16)).astype("float32")  # large enough to be split
    expected, failures = layer(x)[0].data, []

    def work():
        for _ in range(10):
            if not np.array_equal(layer(x)[0].data, expected):
                failures.append("differs")

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


PROGRAM = """
import os
import numpy as np, xprnn
from xprnn import nn
layer = nn.LSTM(16, 64, rng=0)
x = np.random.default_rng(0).standard_normal((200, 16, 16)).astype("float32")
y = layer(x)[0]
with xprnn.use_kernels("reference"):
    expected = layer(x)[0].data
assert np.abs(y.data - expected).max() < 1e-5
print(xprnn.explain(layer, x).splitlines()[1])
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(layer(x)[0].data, y.data) else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


NOWHERE = {"NUMBA_CACHE_DIR": "/dev/null/nowhere", "XDG_CACHE_HOME": ""}
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"}


@pytest.mark.parametrize(
    ("environment", "verdict"),
    [
        ({}, "compiled: runs"),
        ({"NUMBA_NUM_THREADS": "1"}, "compiled: runs"),
        ({"NUMBA_DISABLE_JIT": "1"}, "compiled: declines (NUMBA_DISABLE_JIT is set)"),
        (NOWHERE | AVX2, "compiled: runs"),  # both in one, since each compiles all of it
    ],
    ids=["usual, and after fork", "one thread", "no compiler", "no cache folder, and AVX2 only"],
)
def test_in_a_process_of_its_own(environment, verdict):
    if not ("+avx2" in host.features() and "+fma" in host.features()):
        environment = {name: value for name, value in environment.items() if name not in AVX2}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert verdict in done.stdout


def test_in_a_subinterpreter_nothing_is_compiled():
    """As some servers have one for each worker; NumPy warns of them. Compiled code would hang there."""
    pytest.importorskip("_xxsubinterpreters")
    code = f"import sys; sys.path[:0] = {sys.path!r}; import numpy as np; from xprnn import explain, nn;"
    code += "print(explain(nn.LSTM(3, 4, rng=0), np.ones((2, 1, 3), 'float32')))"
    program = f"import _xxsubinterpreters as i; i.run_string(i.create(), {code!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "reference: runs" in done.stdout, done.stderr
    assert "in a subinterpreter" in done.stdout


def test_an_edit_of_any_kernel_file_moves_the_cache(tmp_path, monkeypatch):
    import shutil
    from pathlib import Path

    from xprnn.kernels.cpu import compiling

    here = Path(compiling.__file__).parent
    shutil.copytree(here, tmp_path / "cpu")
    shutil.copy(here.parent / "scalar_cells.py", tmp_path)
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "cpu" / "compiling.py"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    folders = []
    for edited, edit in (
        ("cpu/gates.py", ""),
        ("cpu/gates.py", "# one more line\n"),
        ("scalar_cells.py", "# and one\n"),
    ):
        with open(tmp_path / edited, "a") as file:
            file.write(edit)
        folders.append(compiling.cache_folder.__wrapped__())
    assert len(set(folders)) == 3
