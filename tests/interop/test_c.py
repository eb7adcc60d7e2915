"""Models in C: compiled without a warning, and compared with the layers, through ctypes and by the test in the file."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import host
from in_c import STRICT, InC, compiled

from xprnn import nn
from xprnn.cells import LSTM, Elman
from xprnn.cli import main
from xprnn.interop import c, nam, rtneural

# GCC fuses products and sums by default, and clang within an expression: both must be kept from it. What clang is told
# by -ffp-contract=fast it does in spite of the file.
FUSED = {"gcc": ["-O3", "-march=native", "-ffp-contract=fast"], "clang": ["-O3", "-march=native"]}
SANITIZERS = {
    "gcc": ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"],
    "clang": ["-fsanitize=undefined,float-cast-overflow", "-fno-sanitize-recover=all"],
}
LSTMS = nn.Sequential(
    nn.LSTM(2, 5, 2, rng=0),
    nn.LSTM(5, 4, peephole="diagonal", bias=False, rng=1),
    nn.LSTM(4, 6, peephole="full", proj_size=3, rng=2),
    nn.Linear(3, 4, rng=0),
    nn.Tanh(),
    nn.Linear(4, 2, bias=False, rng=0),
)
OTHERS = nn.Sequential(
    nn.Linear(2, 3, rng=0),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Sequential(nn.GRU(3, 5, 2, rng=0), nn.GRU(5, 4, reset_after=False, dropout=0.0, rng=1)),
    nn.RNN(4, 6, rng=2),
    nn.RNN(6, 3, nonlinearity="relu", rng=1),
    nn.IndRNN(3, 4, rng=0),
    nn.IndRNN(4, 2, nonlinearity="tanh", rng=0),
    nn.Sigmoid(),
)
compilers = pytest.mark.parametrize(
    "compiler",
    [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name} here"))
        for name in ("gcc", "clang")
    ],
)


def ulp_of_the_largest(found, expected):
    expected = host(expected)
    return np.abs(found - expected).max() / (np.abs(expected).max() * np.finfo("float32").eps)


@compilers
@pytest.mark.parametrize("model", [LSTMS, OTHERS], ids=["LSTMs", "others"])
def test_every_cell_is_the_layer_to_64_ulp(compiler, model, tmp_path, rng):
    sizes = c.export(model, tmp_path / "model.c")
    here = InC(compiler, tmp_path / "model.c")
    x = rng.standard_normal((50, 2)).astype("float32")
    model.eval()
    y = here.block(x, 2)
    assert ulp_of_the_largest(y, model(x)) <= 64
    state = here.state.raw
    assert not any(state[sizes.state :])
    assert any(state[sizes.state - 4 : sizes.state])

    here("reset")  # step by step, in the same place, the same bits
    assert not any(here.state.raw)
    stepped = x.copy()
    for row in stepped:
        here("step", row, row)
    np.testing.assert_array_equal(stepped, y)


CODED = nn.Sequential(
    nn.Linear(2, 3, rng=0),
    nn.ReLU(),
    nn.LSTM(3, 7, 2, rng=1),
    nn.GRU(7, 5, bias=False, rng=2),
    nn.GRU(5, 9, rng=2),
    nn.RNN(9, 6, rng=3),
    nn.RNN(6, 4, nonlinearity="relu", rng=1),
    nn.Linear(4, 2, bias=False, rng=4),
)


@compilers
@pytest.mark.parametrize("fused", [False, True], ids=["strict", "fused"])
def test_weights_of_8_bits_are_the_model_to_the_bit(compiler, fused, tmp_path, rng):
    options = FUSED[compiler] if fused else STRICT
    model = nn.quantize(CODED)
    sizes = c.export(model, tmp_path / "model.c")
    x = rng.standard_normal((200, 2)).astype("float32")
    x[7], x[9], x[11] = 0.0, [1e-31, 0.0], [3e38, 1.0]
    stream = model.stream(None)
    found = InC(compiler, tmp_path / "model.c", options=options)
    np.testing.assert_array_equal(found.block(x, 2), stream.block(x))
    x[3, 1] = np.nan
    np.testing.assert_array_equal(found.block(x[:5], 2), stream.block(x[:5]))
    codes = sum(p.data.nbytes for p in model.parameters() if p.data.dtype == np.int8)
    assert codes < sizes.weights < sum(p.data.nbytes for p in model.parameters())  # two biases are one
    compiled(compiler, "-Dmodel_TEST", tmp_path / "model.c", "-o", tmp_path / "test", options=options)
    done = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 allowed: right" in done.stdout
    for tail, allowed in (([nn.Tanh()], 64), ([nn.Tanh(), nn.Linear(2, 2)], 2**17)):  # which other libraries have
        c.export(nn.quantize(nn.Sequential(*CODED, *tail)), tmp_path / "tail.c")
        assert f"{allowed} allowed" in (tmp_path / "tail.c").read_text()
    with pytest.raises(ValueError, match="has weights of 8 bits, which have no place in the format"):
        rtneural.save(model, tmp_path / "model.json")


@compilers
def test_the_file_tests_itself_and_is_a_header_too(compiler, tmp_path):
    source, program = tmp_path / "amp.c", tmp_path / "amp"
    c.export(nn.LSTM(1, 3, rng=0), source, name="amp")
    compiled(compiler, "-Damp_TEST", source, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert re.fullmatch(r"amp: at most \d+\.\d ulp of the largest output off, 64 allowed: right\n", done.stdout)
    assert done.returncode == 0

    user = '#define amp_DECLARATIONS_ONLY\n#include "amp.c"\n#include "amp.c"\n'
    user += "int main(void) { amp_state s; float x[1] = {0}, y[amp_outputs]; amp_init(&s); amp_step(&s, x, y);"
    (tmp_path / "user.c").write_text(user + " return y[0] == 0.0f; }\n")
    compiled(compiler, tmp_path / "user.c", source, "-o", program)
    assert subprocess.run([program], check=False).returncode == 0

    text = source.read_text()
    start = text.index("test_y[")
    wrong = re.sub(r"-?\d\.\d+f", "0.75f", text[start:], count=1)
    source.write_text(text[:start] + wrong)
    compiled(compiler, "-Damp_TEST", source, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.endswith("WRONG\n")) == (1, True)


@compilers
def test_several_models_may_be_one_unit(compiler, tmp_path, rng):
    models = {"clean": nn.LSTM(2, 3, rng=0), "lead": nn.Sequential(nn.GRU(2, 3, 2, rng=1), nn.Linear(3, 1, rng=2))}
    models["small"] = nn.quantize(models["lead"])
    x, both = rng.standard_normal((5, 2)).astype("float32"), tmp_path / "all.c"
    for name, model in models.items():
        c.export(model, tmp_path / f"{name}.c", name=name)
    both.write_text("".join(f'#include "{name}.c"\n' for name in models))
    for name, model in models.items():
        y = model(x)
        y = (y[0] if isinstance(y, tuple) else y).numpy()
        np.testing.assert_allclose(InC(compiler, both, name).block(x, y.shape[1]), y, rtol=0, atol=1e-6)


@compilers
def test_sanitizers_find_nothing(compiler, tmp_path):
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    options, program = [*STRICT, *SANITIZERS[compiler]], tmp_path / "program"
    probe = [compiler, *options, str(tmp_path / "empty.c"), "-o", str(program)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")
    for number, model in enumerate((LSTMS, OTHERS, nn.quantize(CODED))):
        source = tmp_path / f"model{number}.c"
        c.export(model, source)
        compiled(compiler, "-Dmodel_TEST", source, "-o", program, options=options)
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def exploding(weight, bias=0.0):
    """A relu network whose state grows by a factor each step, and a head."""
    model = nn.Sequential(nn.RNN(2, 2, nonlinearity="relu", rng=0), nn.Linear(2, 1, rng=0))
    rnn, head = model
    rnn.weight_hh_l0.data = np.full((2, 2), weight, "float32")
    head.weight.data, head.bias.data = np.full((1, 2), 3.0, "float32"), np.full(1, bias, "float32")
    return model


@compilers
@pytest.mark.parametrize("weight", [4.0, 1e30, -1e30])
def test_outputs_that_overflow_are_not_what_is_tested(compiler, weight, tmp_path):
    source, program = tmp_path / "model.c", tmp_path / "program"
    c.export(exploding(weight), source)
    assert "inff" not in source.read_text()
    assert "nanf" not in source.read_text()
    compiled(compiler, "-Dmodel_TEST", source, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_model_that_does_nothing_but_overflow(tmp_path):
    with pytest.raises(ValueError, match=r"c.export: the model's first output is above what float32 holds"):
        c.export(exploding(1.0, bias=3e38), tmp_path / "model.c")
    assert not [*tmp_path.iterdir()]


@compilers
def test_initial_states(compiler, tmp_path, rng):
    lstm, gru = nn.LSTM(1, 3, 2, dtype="float64", rng=0), nn.GRU(3, 2, dtype="float64", rng=0)
    states = [tuple(rng.standard_normal((2, 3)) for _ in range(2)), rng.standard_normal((1, 2))]
    c.export(nn.Sequential(lstm, gru), tmp_path / "model.c", states=states)
    x = rng.standard_normal((9, 1))
    expected, _ = gru(lstm(x, states[0])[0], states[1])
    found = InC(compiler, tmp_path / "model.c").block(x.astype("float32"), 2)
    assert ulp_of_the_largest(found, expected) <= 64


@compilers
@pytest.mark.parametrize("source", ["nam-lstm.nam", "rtneural-lstm.json"])
def test_command(compiler, source, tmp_path, rng):
    path = f"{__file__.removesuffix('test_c.py')}files/{source}"
    out = tmp_path / "amp.c"
    done = CliRunner().invoke(main, ["export-c", path, "-o", str(out), "--name", "amp"])
    assert done.exit_code == 0, done.output
    assert re.match(rf"{re.escape(str(out))}: state \d+, weights \d+, arrays on the stack \d+ bytes\n", done.output)
    x = rng.standard_normal((30, 1)).astype("float32")
    expected = nam.load(path).stream().block(x) if source.endswith("nam") else rtneural.load(path)(x)
    assert ulp_of_the_largest(InC(compiler, out, "amp").block(x, 1), expected) <= 64


def test_command_with_wrong_input_says_one_line(tmp_path):
    for name in ("model.pt", "model.nam"):
        (tmp_path / name).write_bytes(b"x")
        done = CliRunner().invoke(main, ["export-c", str(tmp_path / name), "-o", str(tmp_path / "model.c")])
        assert done.exit_code == 1
        assert re.fullmatch(r"Error: .*model\.\w+: .*\n", done.output)
    done = CliRunner().invoke(main, ["export-c", str(tmp_path / "model.nam"), "-o", str(tmp_path / "model.nam")])
    assert "would be overwritten" in done.output
    assert (tmp_path / "model.nam").read_bytes() == b"x"


class Own(LSTM):
    """A cell that C does not know."""


def not_finite(value):
    layer = nn.LSTM(1, 2, dtype="float64", rng=0)
    layer.weight_hh_l0.data[0, 0] = value
    return layer


class Doubled(nn.GRU):
    """What it computes nobody knows."""

    def forward(self, *args):
        y, state = super().forward(*args)
        return 2.0 * y, state


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.LSTM(1, 2, bidirectional=True), {}, "LSTM is bidirectional"),
        (nn.LSTM(1, 2, reverse=True), {}, "LSTM is reverse; it cannot run step by step"),
        (nn.LSTM(1, 2, zoneout=0.1), {}, "LSTM has zoneout, which has no place in the format"),
        (
            nn.RecurrentLayer(Own(), 1, 2),
            {},
            "RecurrentLayer has the cell Own.*; expected one of LSTM, PeepholeLSTM, .*GRU",
        ),
        (nn.LRU(1, 2), {}, "LRU has the cell LRU.*; expected one of LSTM, PeepholeLSTM, .*GRU"),
        (nn.Sequential(Doubled(1, 2)), {}, r"0 \(Doubled\) has no place in the format; .*without a forward of its own"),
        (nn.Sequential(nn.LSTM(1, 2), nn.Softmax()), {}, r"1 \(Softmax\) cannot be written; expected Tanh"),
        (nn.Sequential(nn.Linear(1, 2)), {}, "has no recurrent layer"),
        (not_finite(np.nan), {}, "LSTM has numbers that are not finite in float32"),
        (not_finite(1e39), {}, "LSTM has numbers that are not finite in float32"),
        (nn.LSTM(1, 2), {"name": "a b"}, "name is 'a b'; expected letters"),
        (nn.LSTM(1, 2), {"name": "2"}, "name is '2'; expected letters"),
        (nn.LSTM(1, 2), {"states": []}, "states are 0; expected 1"),
        (
            nn.LSTM(1, 2),
            {"states": [np.zeros((1, 2))]},
            r"state 0 has shapes \[\(1, 2\)\]; expected \[\(1, 2\), \(1, 2\)",
        ),
        (nn.RecurrentLayer(Elman(), 1, 2), {"states": [np.zeros((2, 2))]}, r"state 0 has shapes \[\(2, 2\)\]"),
    ],
)
def test_what_cannot_be_written(model, options, message, tmp_path):
    with pytest.raises(ValueError, match=f"c.export: .*{message}"):
        c.export(model, tmp_path / "model.c", **options)
    assert not [*tmp_path.iterdir()]
