"""Lanes: every step once a pass, whatever it is read from, in order, and resumed in the middle of one."""

from itertools import islice

import array_api_strict
import numpy as np
import pytest

from xprnn import nn
from xprnn.backend import get_backend, to_numpy
from xprnn.data import ArrowRows, Lanes, Ragged
from xprnn.data.characters import character_streams
from xprnn.data.passes import map_of
from xprnn.distributed import in_threads
from xprnn.train import Adam, Carried, Checkpoint, cross_entropy, evaluate, fit, truncated_bptt

N = 103
TOKENS = np.random.default_rng(0).integers(0, 7, N).astype("uint16")
SETTINGS = {"batch_size": 3, "chunk": 4, "window": 2, "ahead": 1}  # 34 steps: 9 batches, of which the last has 2


def memory_map(folder):
    TOKENS.tofile(folder / "tokens.bin")
    return np.memmap(folder / "tokens.bin", "uint16", "r")


def zarr_array(folder):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(str(folder / "tokens.zarr"), data=TOKENS, chunks=(5,))


def arrow_file(folder):
    pa = pytest.importorskip("pyarrow")
    batches = pa.table({"t": TOKENS}).to_batches(max_chunksize=11)
    with pa.ipc.new_file(folder / "tokens.arrow", batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    return ArrowRows(folder / "tokens.arrow", "t")


@pytest.mark.parametrize("make", [lambda folder: TOKENS, memory_map, zarr_array, arrow_file])
def test_batches_are_those_of_the_streams(make, tmp_path):
    x, y = character_streams(TOKENS, 3)
    lanes = Lanes(make(tmp_path), **SETTINGS)
    for _ in range(2):
        found = list(lanes)
        assert [len(part) for part, _ in found] == [4] * 8 + [2]
        for k, whole in enumerate((x, y)):
            np.testing.assert_array_equal(np.concatenate([batch[k] for batch in found]), whole)
    parts = [list(Lanes(TOKENS, **SETTINGS).parts(rank, 2)) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate([parts[0][5][1], parts[1][5][1]], axis=1), found[5][1])


def test_pages_of_a_view_are_those_of_its_map(tmp_path):
    mapped = memory_map(tmp_path)
    assert map_of(mapped) is mapped
    assert map_of(np.asarray(mapped)[3:][:50]) is mapped
    assert map_of(np.array(mapped)) is map_of([1]) is None


def test_sources_go_together():
    features = np.arange(2.0 * N).reshape(N, 2)
    for x, y in Lanes(features, TOKENS, batch_size=5, chunk=7):
        np.testing.assert_array_equal(TOKENS[(x[..., 0] / 2).astype(int)], y)
    x, y, later = next(iter(Lanes(features, TOKENS, batch_size=5, chunk=7, ahead=3)))
    assert (later - x == 6).all()
    assert y.shape == (7, 5)


@pytest.mark.parametrize("updates", [None, 2, 9, 11])
def test_it_goes_on_where_it_was(updates):
    def after(lanes, count):
        found = []
        while len(found) < count:
            found += [x.tobytes() for x, _ in islice(lanes, count - len(found))]
        return found

    whole = after(Lanes(TOKENS, **SETTINGS), 30)
    for stop in range(12):
        first, second = (Lanes(TOKENS, updates=updates, **SETTINGS) for _ in range(2))
        assert after(first, stop) == whole[:stop]
        second.load_state_dict(first.state_dict())
        assert after(second, 15) == after(first, 15) == whole[stop : stop + 15]


class Body(nn.Module):
    """Tokens to states."""

    def __init__(self, cell):
        self.table = nn.Embedding(7, 3, dtype="float64", rng=0)
        self.recurrent = cell(3, 4, dtype="float64", rng=1)

    def forward(self, x, state=None):
        return self.recurrent(self.table(x), state)


class Model(nn.Module):
    def __init__(self, cell=nn.LSTM):
        self.body, self.head = Body(cell), nn.Linear(4, 7, dtype="float64", rng=2)


def loss(model, batch):
    targets, chunk = batch
    return cross_entropy(model.head(chunk.output), targets)


def test_a_pass_is_that_of_truncated_bptt():
    model, (x, y) = Model(), character_streams(TOKENS, 3)
    carried = Carried(model.body, Lanes(TOKENS, **SETTINGS))
    for _ in range(2):  # passes begin with no state
        expected = [
            (c.start, c.stop, loss(model, (y[c.start : c.stop], c)).item()) for c in truncated_bptt(model.body, x, k1=4)
        ]
        assert [(b[-1].start, b[-1].stop, loss(model, b).item()) for b in carried] == expected
    assert evaluate(model, carried, loss) == pytest.approx(
        sum((stop - start) * each for start, stop, each in expected) / 34
    )


def train(folder, ranks=None, cell=nn.LSTM, epochs=5, home=None, **options):
    model = Model(cell)
    if home is not None:
        model.to(home)
    batches = Carried(model.body, Lanes(TOKENS, updates=5, **SETTINGS))
    calls = {"callbacks": [Checkpoint(folder / "run")], "progress": False, "communicator": ranks, **options}
    fit(model, batches, loss, Adam(model.parameters(), 0.01), epochs=epochs, **calls)
    return np.concatenate([to_numpy(p.data).ravel() for p in model.parameters()])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2), (1, 3, 2)], ids=str)
def test_a_run_resumed_in_the_middle_of_a_pass(cell, sizes, tmp_path):
    before, after, whole = sizes
    expected = in_threads(lambda ranks: train(tmp_path, ranks, cell), whole)[0]
    in_threads(lambda ranks: train(tmp_path, ranks, cell, epochs=3), before)  # 15 batches: 6 of the second pass
    found = in_threads(lambda ranks: train(tmp_path, ranks, cell, resume=tmp_path / "run"), after)
    assert len({each.tobytes() for each in found}) == 1
    if before == after == whole:
        np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-14)


def test_on_a_device(tmp_path):
    home = get_backend("array_api_strict", array_api_strict.Device("device1"))
    expected = train(tmp_path)
    in_threads(lambda ranks: train(tmp_path, ranks, home=home, epochs=3), 2)
    found = in_threads(lambda ranks: train(tmp_path, ranks, home=home, resume=tmp_path / "run"), 2)
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-14)


def test_what_they_refuse(tmp_path):
    for call, kind, words in [
        (lambda: Lanes(batch_size=1, chunk=1), ValueError, "Lanes: no sources; expected at least one"),
        (lambda: Lanes(5, batch_size=1, chunk=1), TypeError, "Lanes: source 0 is 5; expected rows"),
        (
            lambda: Lanes(TOKENS, TOKENS[1:], batch_size=1, chunk=1),
            ValueError,
            r"the sources have lengths \[103, 102\]; expected equal ones of at least 1",
        ),
        (lambda: Lanes(TOKENS, **{**SETTINGS, "batch_size": 103}), ValueError, "expected equal ones of at least 104"),
        (lambda: Lanes(TOKENS, **{**SETTINGS, "chunk": 0}), ValueError, "Lanes: chunk is 0"),
        (lambda: Lanes(Ragged(TOKENS, [N]), batch_size=1, chunk=1), (TypeError, ValueError), "Lanes: "),
        (
            lambda: Lanes(TOKENS, **SETTINGS).parts(0, 4),
            ValueError,
            "Lanes: batch_size is 3; expected at least 4, a lane for each rank",
        ),
        (
            lambda: Lanes(TOKENS, **SETTINGS).load_state_dict({"position": 10}),
            ValueError,
            "Lanes: the state's position is 10; expected at most 9, a pass",
        ),
        (lambda: Carried(len, Lanes(TOKENS, **SETTINGS)), TypeError, "Carried: layer is a builtin_function_or_method"),
        (lambda: Carried(nn.GRU(2, 2), [1]), TypeError, "Carried: lanes is a list; expected Lanes"),
        (
            lambda: Carried(nn.GRU(2, 2, bidirectional=True), Lanes(TOKENS, **SETTINGS)),
            ValueError,
            "Carried: the layer has bidirectional; expected",
        ),
        (
            lambda: Carried(nn.Dropout(0.5), Lanes(TOKENS, **SETTINGS)),
            ValueError,
            "Carried: the layer has no parameters",
        ),
        (
            lambda: Carried(nn.GRU(2, 2), Lanes(TOKENS, **SETTINGS)).load_state_dict(
                {"lanes": {"position": 1}, "state": [3]}
            ),
            ValueError,
            r"Carried: the state's state is \[3\]; expected arrays",
        ),
    ]:
        with pytest.raises(kind, match=words):
            call()
