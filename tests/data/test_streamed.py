"""Streamed: every row once a pass, whatever it is read from, and resumed in the middle of one."""

import sys
from itertools import islice

import numpy as np
import pytest

from xprnn import nn
from xprnn.data import ArrowRows, Batches, Ragged, Streamed
from xprnn.distributed import in_threads
from xprnn.train import Adam, Checkpoint, fit, mse

N = 23
ROWS = np.arange(2.0 * N).reshape(N, 2)


def memory_map(folder):
    np.save(folder / "rows.npy", ROWS)
    return np.load(folder / "rows.npy", mmap_mode="r")


def zarr_array(folder):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(str(folder / "rows.zarr"), data=ROWS, chunks=(4, 2))


def arrow_file(folder):
    pa = pytest.importorskip("pyarrow")
    batches = pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1], "t": ["text"] * N}).to_batches(max_chunksize=5)
    with pa.ipc.new_file(folder / "rows.arrow", batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    rows = ArrowRows(folder / "rows.arrow", "a", "b")
    assert [len(rows[k:k]) for k in (0, 5, N)] == [0, 0, 0]
    return rows


SOURCES = [lambda folder: ROWS, memory_map, zarr_array, arrow_file]


def streamed(source=ROWS, **options):
    return Streamed(source, np.arange(N), **{"batch_size": 3, "window": 2, "shuffle": True, "rng": 0, **options})


@pytest.mark.parametrize("make", SOURCES, ids=["array", "memory map", "zarr", "arrow"])
def test_each_row_once_a_pass(make, tmp_path):
    source = make(tmp_path)
    batches, orders = streamed(source), []
    for _ in range(2):
        numbers = []
        for x, k in batches:
            assert (type(x), x.dtype, len(x)) == (np.ndarray, np.float64, len(k))
            np.testing.assert_array_equal(x, ROWS[k])
            assert len(set((k // 6).tolist())) == 1  # of one window
            numbers += k.tolist()
        assert sorted(numbers) == list(range(N))
        orders.append(numbers)
    assert orders[0] != orders[1]
    assert len(batches) == 8
    assert [k.tolist() for _, k in streamed(source, shuffle=False)] == [
        k.tolist() for (k,) in Batches(np.arange(N), batch_size=3)
    ]


@pytest.mark.parametrize("updates", [None, 3, 8, 20])
@pytest.mark.parametrize("shuffle", [True, False])
def test_it_goes_on_where_it_was(updates, shuffle):
    def numbers(batches, count):
        found = []
        while len(found) < count:
            found += [k.tolist() for _, k in islice(batches, count - len(found))]
        return found

    whole = numbers(streamed(shuffle=shuffle), 40)
    for stop in range(20):
        first, second = (streamed(updates=updates, shuffle=shuffle, rng=rng) for rng in (0, 9))
        assert numbers(first, stop) == whole[:stop]
        second.load_state_dict(first.state_dict())
        assert second.state_dict() == first.state_dict()
        assert numbers(second, 20) == numbers(first, 20) == whole[stop : stop + 20]


def test_epochs_of_so_many_updates():
    batches = streamed(updates=5)
    assert len(batches) == 5
    assert [len(list(batches)) for _ in range(4)] == [5] * 4
    assert batches.position == 4  # of the third pass of eight


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_resumed_in_the_middle_of_a_pass_has_the_same_bits(size, tmp_path):
    def run(ranks, epochs, **options):
        model = nn.Linear(2, 1, dtype="float64", rng=0)
        loss = lambda m, batch: mse(m(batch[0] / N), batch[1].astype("float64")[:, None])
        callbacks = [Checkpoint(tmp_path / "run")]
        optimizer, batches = Adam(model.parameters()), streamed(updates=3)
        fit(
            model,
            batches,
            loss,
            optimizer,
            epochs=epochs,
            callbacks=callbacks,
            communicator=ranks,
            progress=False,
            **options,
        )
        return model.weight.numpy().tobytes()

    whole = in_threads(lambda ranks: run(ranks, 5), size)
    in_threads(lambda ranks: run(ranks, 2), size)
    assert in_threads(lambda ranks: run(ranks, 5, resume=tmp_path / "run"), size) == whole


def test_axes_and_parts_of_ranks():
    x = np.arange(N * 6).reshape(N, 2, 3)
    options = {"batch_size": 4, "axis": (1, 0), "window": 3, "shuffle": True}
    for (a, k), (b, m), (c, n) in zip(
        Streamed(x, np.arange(N), rng=0, **options),
        *(Streamed(x, np.arange(N), rng=0, **options).portion(rank, 2) for rank in (0, 1)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, np.moveaxis(x[k], 0, 1))
        np.testing.assert_array_equal(np.concatenate([b, c], axis=1), a)
        np.testing.assert_array_equal(np.concatenate([m, n]), k)


def lists_in_arrow(folder, sequences):
    pa = pytest.importorskip("pyarrow")
    batches = pa.table({"s": [s[:, 0].tolist() for s in sequences]}).to_batches(max_chunksize=4)
    with pa.ipc.new_file(folder / "lists.arrow", batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    return ArrowRows(folder / "lists.arrow", "s")


@pytest.mark.parametrize("kind", ["ragged", "arrow"])
def test_sequences_come_in_buckets(kind, tmp_path):
    draws = np.random.default_rng(0)
    sequences = [draws.normal(size=(n, 1)) for n in draws.integers(0, 9, N)]
    ends = np.cumsum([len(s) for s in sequences])
    source = Ragged(np.concatenate(sequences), ends) if kind == "ragged" else lists_in_arrow(tmp_path, sequences)
    seen = []
    for x, lengths, k in streamed(source, value=-1.0):
        assert lengths.tolist() == [len(sequences[j]) for j in k] == sorted(lengths, reverse=True)
        for b, j in enumerate(k):
            np.testing.assert_array_equal(x[: lengths[b], b].reshape(-1), sequences[j][:, 0])
            assert (x[lengths[b] :, b] == -1.0).all()
        seen += k.tolist()
    assert sorted(seen) == list(range(N))


def test_what_it_refuses(tmp_path, monkeypatch):
    for sources, options, error, words in [
        ([], {}, ValueError, "no sources"),
        ([ROWS, ROWS[1:]], {}, ValueError, r"lengths \[23, 22\]; expected equal ones above 0"),
        ([ROWS], {"drop_last": True}, TypeError, "drop_last is given"),
        ([ROWS], {"window": 0}, ValueError, "window is 0"),
        ([ROWS], {"value": 1}, TypeError, "value"),
        (
            [ROWS, ROWS[:, 0]],
            {"axis": 1},
            ValueError,
            r"axis is 1, .* expected one axis that all have, or one for each",
        ),
        ([ROWS], {"axis": (0, 1)}, ValueError, "expected one axis that all have, or one for each"),
    ]:
        with pytest.raises(error, match=words):
            Streamed(*sources, batch_size=2, **options)
    with pytest.raises(ValueError, match=r"Ragged: ends go to 4, or fall on the way; expected rising ones up to 5"):
        Ragged(np.zeros(5), [3, 4])
    for ends in (5, [[2, 5]], [2.7, 5], [np.nan, 5], ["a"], None, [10**30, 5]):
        with pytest.raises((TypeError, ValueError), match=r"Ragged: ends are .*; expected"):
            Ragged(np.zeros(5), ends)
    for source in (None, 5, np.zeros(()), iter([1])):
        with pytest.raises(TypeError, match=r"Streamed: source 0 is .*; expected"):
            Streamed(source, batch_size=2)
    batches = streamed()
    for state, words in [
        ({"generator": {}, "position": 1}, "Streamed: "),
        ({**batches.state_dict(), "position": 9}, "position is 9; expected at most 8"),
    ]:
        with pytest.raises(ValueError, match=words):
            batches.load_state_dict(state)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"ArrowRows needs pyarrow: pip install 'xprnn\[arrow\]'"):
        ArrowRows(tmp_path / "rows.arrow", "a")


def test_what_an_arrow_file_may_lack(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = arrow_file(tmp_path)._name
    with pytest.raises(ValueError, match=r"columns \['c'\] asked for; expected some of a, b, t"):
        ArrowRows(path, "a", "c")
    with pytest.raises(ValueError, match="a, t are double, string; expected columns of numbers"):
        ArrowRows(path, "a", "t")
    with pa.ipc.new_file(tmp_path / "nulls", pa.schema({"a": pa.float64()})) as file:
        file.write_table(pa.table({"a": [1.0, None]}))
    with pytest.raises(ValueError, match="a has nulls"):
        list(Streamed(ArrowRows(tmp_path / "nulls", "a"), batch_size=2))


def test_ragged_parts():
    ragged = Ragged(np.arange(5.0), [2, 2, 5])
    assert [len(each) for each in ragged[0:3]] == [2, 0, 3]
    assert ragged[1:1] == ragged[2:1] == Ragged(np.zeros(0), [])[0:0] == []


def test_a_source_that_gives_fewer_rows_than_it_has():
    class Short:
        shape = (10, 4)

        def __getitem__(self, rows):
            return ROWS[rows.start : min(rows.stop, 3)]

    with pytest.raises(ValueError, match="Streamed: rows 0 to 4 of a source are 3"):
        list(Streamed(Short(), batch_size=2, window=2, updates=20))


def test_an_error_of_the_reader_arrives():
    class Torn:
        def __len__(self):
            return 8

        def __getitem__(self, rows):
            if rows.start >= 4:
                raise OSError("cannot read")
            return ROWS[rows]

    batches = iter(Streamed(Torn(), batch_size=2, window=2))
    assert [len(x) for (x,) in islice(batches, 2)] == [2, 2]
    with pytest.raises(OSError, match="cannot read"):
        next(batches)
