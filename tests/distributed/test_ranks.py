"""N ranks take the steps of one: the laws, on ranks that are threads."""

import os
import threading

import array_api_strict
import numpy as np
import pytest
from shared_training import HOST, Model, batches, bits, buckets, by_length, compare, masked, trained

from xprnn import nn
from xprnn.backend import get_backend
from xprnn.data import Batches, Divided
from xprnn.distributed import RankError, SameBits, in_threads
from xprnn.distributed.threads import Threads
from xprnn.train import Adam, Callback, Checkpoint, fit, load_checkpoint

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))
quiet = {"progress": False}


@pytest.mark.parametrize(
    ("size", "dtype", "rtol", "options"),
    [
        (2, "float64", 1e-13, {}),
        (3, "float64", 1e-13, {"accumulate": 3}),
        (5, "float32", 2e-5, {"clip_norm": None, "clip_value": 0.01}),
        (2, "float64", 1e-13, {"home": DEVICE, "epochs": 2}),
        (3, "float64", 1e-13, {"source": buckets, "loss": by_length}),
    ],
    ids=["two", "accumulated", "more than rows", "on a device", "buckets"],
)
def test_ranks_are_one(size, dtype, rtol, options):
    expected = trained(dtype=dtype, **options)
    found = in_threads(lambda ranks: trained(ranks, dtype=dtype, **options), size)
    assert len({bits(each[0]) for each in found}) == 1  # the same in all ranks
    assert len({repr(each[2].epochs) for each in found}) == 1
    compare(found[0], expected, rtol)
    assert expected[1].counts[-1] == 0  # what no rank's loss reads is left alone


def test_two_runs_and_other_beginnings_give_the_same_bits():
    def run(ranks, seed):
        model, optimizer, batched = Model("float32"), None, batches(HOST, "float32")
        if ranks.rank == 1:  # rank 0's weights, moments and order of batches count
            model.out.weight.data = model.out.weight.data + seed
            batched = Batches(*batched.arrays, batch_size=4, axis=1, shuffle=True, rng=seed)
        optimizer = Adam(model.parameters(), lr=0.02)
        fit(model, batched, masked, optimizer, epochs=2, communicator=ranks, **quiet)
        return bits(model)

    assert len({each for seed in (0, 1) for each in in_threads(lambda ranks, s=seed: run(ranks, s), 2)}) == 1


def everyone(function, size=2):
    """What each rank raises, in order."""

    def run(ranks):
        try:
            function(ranks)
        except Exception as error:
            ranks.abort(error) if isinstance(error, Unforeseen) else None
            return error

    return in_threads(run, size)


class Unforeseen(Exception):
    pass


@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_a_bad_part_changes_no_rank(home):
    held = [None, None]

    def run(ranks):
        def spoiled(model, batch):
            held[ranks.rank] = bits(model)
            return masked(model, batch) * (np.nan if ranks.rank == 1 and len(seen) == 2 else 1.0)

        class Watch(Callback):
            def on_batch_end(self, run):
                seen.append(None)

        model, seen = Model("float64"), []
        model.to(home)
        try:
            fit(
                model,
                batches(home, "float64"),
                spoiled,
                Adam(model.parameters()),
                epochs=1,
                communicator=ranks,
                callbacks=[Watch()],
                **quiet,
            )
        finally:
            held[ranks.rank] = (bits(model), held[ranks.rank] if home is HOST else bits(model))

    own, others = everyone(run)[::-1]
    assert isinstance(own, FloatingPointError)
    assert isinstance(others, FloatingPointError)
    assert "the loss is nan in epoch 1, batch 3" in str(own)
    assert str(others).startswith(
        "fit: rank 1 raised FloatingPointError: fit: the loss is nan" if home is HOST else "fit: another rank"
    )
    assert len({part for pair in held for part in pair}) == 1


def test_what_one_raises_all_raise():
    def run(ranks, where):
        def loss(model, batch):
            if ranks.rank == 1 and where == "loss":
                raise ZeroDivisionError("by zero")
            return masked(model, batch)

        def metric(model, batch):
            if ranks.rank == 1 and where == "validation" and not model.training:
                raise ZeroDivisionError("by zero")
            return 0.0

        class Data(Batches):
            def parts(self, rank, size):
                if rank == 1 and where == "batches":
                    raise ZeroDivisionError("by zero")
                return super().parts(rank, size)

        source = Data(*batches(HOST, "float64").arrays, batch_size=4, axis=1)
        model = Model("float64")
        fit(
            model,
            source,
            loss,
            Adam(model.parameters()),
            epochs=1,
            validation=source,
            metrics={"m": metric},
            communicator=ranks,
            **quiet,
        )

    for where in ("loss", "batches", "validation"):
        other, own = everyone(lambda ranks, where=where: run(ranks, where))
        assert isinstance(own, ZeroDivisionError)
        assert isinstance(other, RuntimeError)
        assert str(other) == "fit: rank 1 raised ZeroDivisionError: by zero"


def test_an_error_that_the_others_cannot_know_of_ends_them():
    class Fails(Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_batch_end(self, run):
            if self.rank == 1:
                raise Unforeseen("in a callback")

    other, own = everyone(lambda ranks: trained(ranks, callbacks=[Fails(ranks.rank)]))
    assert isinstance(own, Unforeseen)
    assert isinstance(other, RankError)
    assert str(other) == "rank 1 has raised Unforeseen: in a callback"
    with pytest.raises(Unforeseen):
        in_threads(lambda ranks: trained(ranks, callbacks=[Fails(ranks.rank)]), 2)


def test_a_sum_that_one_rank_cannot_begin_ends_the_others():
    def run(ranks):
        def no_room(array):
            raise MemoryError("no room for a bucket")

        if ranks.rank == 1:
            ranks.begin_sum = no_room
        trained(ranks)

    other, own = everyone(run)
    assert isinstance(own, MemoryError)
    assert str(other) == "rank 1 has raised MemoryError: no room for a bucket"


def test_ctrl_c_ends_ranks_that_are_threads(monkeypatch):
    reached, over, ended = threading.Event(), threading.Event(), []

    def rounds(ranks):
        try:
            while not over.is_set():
                ranks.gather(None)
                reached.set()
        except RankError as error:
            ended.append(str(error))

    def interrupted(self, join=threading.Thread.join):
        reached.wait()
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_threads(rounds, 2)
    over.set()
    assert ended == ["the caller has raised KeyboardInterrupt: "] * 2


def test_a_rank_that_drifts_is_named():
    class Drifts(Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_batch_end(self, run):
            if self.rank == 1 and run.batch == 2:
                weight = run.model.out.weight
                weight.data = weight.data * (1 + 2e-16)

    for every, batch in ((2, 2), (100, 4)):
        errors = everyone(lambda ranks, k=every: trained(ranks, callbacks=[Drifts(ranks.rank), SameBits(k)]))
        for error in errors:
            assert isinstance(error, RuntimeError)
            assert f"SameBits: after batch {batch} of epoch 1 out.weight of rank 1 differs from that of rank 0" in str(
                error
            )


@pytest.mark.parametrize("every", [1, 2])  # the last epoch is written whatever its number is
def test_one_that_stops_stops_all(every, tmp_path):
    class Stops(Callback):
        def __init__(self, rank):
            self.rank = rank

        def on_batch_end(self, run):
            run.stop = self.rank == 1

    def run(ranks):
        written = Checkpoint(tmp_path / "run", every)
        return len(trained(ranks, callbacks=[Stops(ranks.rank), written])[2]), written.path.exists()

    assert in_threads(run, 2) == [(1, True)] * 2


def test_noise_is_each_ranks_own():
    masks = []

    def run(ranks):
        model = Model("float64", dropout=0.5)

        def loss(model, batch):
            masks.append((ranks.rank, repr(model.dropout.rng.bit_generator.state["state"])))
            return masked(model, batch)

        fit(model, batches(HOST, "float64"), loss, Adam(model.parameters()), epochs=1, communicator=ranks, **quiet)

    in_threads(run, 2)
    alone = repr(np.random.default_rng(1).bit_generator.state["state"])
    firsts = [next(state for rank, state in masks if rank == k) for k in (0, 1)]
    assert firsts[0] == alone != firsts[1]


def test_noise_from_the_generator_of_the_batches_leaves_their_order_alone():
    seen = {}

    def run(ranks):
        draws = np.random.default_rng(0)  # one for all, as of a script that has but one
        model = nn.Sequential(nn.Linear(1, 4, dtype="float64", rng=draws), nn.Dropout(0.5, rng=draws))
        x = np.arange(12.0)[:, None]

        def loss(model, batch):
            seen.setdefault(ranks.rank, []).append(batch[0].ravel().tolist())
            return model(batch[0]).mean()

        source = Batches(x, batch_size=4, shuffle=True, rng=draws)
        fit(model, source, loss, Adam(model.parameters()), epochs=3, communicator=ranks, **quiet)

    in_threads(run, 2)
    for epoch in range(0, 9, 3):
        parts = seen[0][epoch : epoch + 3] + seen[1][epoch : epoch + 3]
        assert sorted(number for part in parts for number in part) == list(range(12))


@pytest.mark.parametrize("sizes", [(1, 3), (3, 2), (2, 1)], ids=str)
def test_resumed_by_another_number_of_ranks(sizes, tmp_path):
    path = tmp_path / "run.safetensors"

    def run(ranks, **options):
        return trained(ranks, callbacks=[Checkpoint(path)], **options)

    before, after = sizes
    whole = trained(callbacks=[Checkpoint(tmp_path / "other")], epochs=4)
    in_threads(lambda ranks: run(ranks, epochs=2), before)
    found = in_threads(lambda ranks: run(ranks, epochs=4, resume=path if ranks.rank == 0 else None), after)
    assert len({bits(each[0]) for each in found}) == 1
    compare(found[0], whole, 1e-13)


def test_resumed_by_as_many_with_dropout_has_the_same_bits(tmp_path):
    path = tmp_path / "run.safetensors"

    def run(ranks, **options):
        return bits(trained(ranks, dropout=0.5, callbacks=[Checkpoint(path)], **options)[0])

    whole = in_threads(lambda ranks: run(ranks, epochs=4), 2)
    in_threads(lambda ranks: run(ranks, epochs=2), 2)
    assert in_threads(lambda ranks: run(ranks, epochs=4, resume=path), 2) == whole


def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path, monkeypatch):
    path, writes = tmp_path / "run.safetensors", []

    def full(*arguments):
        writes.append(arguments)
        if len(writes) > 1:
            raise OSError(28, "No space left on device")
        return flush(*arguments)

    flush = os.fsync
    monkeypatch.setattr("os.fsync", full)
    own, other = everyone(lambda ranks: trained(ranks, callbacks=[Checkpoint(path)]))
    assert isinstance(own, OSError)
    assert str(other) == f"fit: rank 0 raised OSError: [Errno 28] cannot write {path}: No space left on device"
    assert load_checkpoint(path, model=Model("float64")) is None  # that of the epoch before
    assert len(writes) == 2  # by one rank
    with pytest.raises(FileNotFoundError, match="missing"):
        in_threads(lambda ranks: trained(ranks, resume=tmp_path / "missing"), 2)


def test_batches_that_ranks_cannot_share(monkeypatch):
    given = [tuple(batches(HOST, "float64").arrays)] * 2

    def run(ranks, source):
        model = Model("float64")
        fit(model, source, masked, Adam(model.parameters()), epochs=1, communicator=ranks, **quiet)
        return bits(model)

    with pytest.raises(TypeError, match="fit: communicator is a int; expected one of xprnn.distributed"):
        run(3, given)
    words = r"fit: batches is a list, which 2 ranks cannot share; expected .* Divided\(batches, axis=0\)"
    with pytest.raises(TypeError, match=words):
        in_threads(lambda ranks: run(ranks, given), 2)
    in_threads(lambda ranks: run(ranks, Divided(given, axis=1)), 2)

    class Short(Divided):
        def parts(self, rank, size):
            return (part for k, part in enumerate(super().parts(rank, size)) if k < 2 - rank)

    aborts = []
    monkeypatch.setattr(Threads, "abort", lambda self, error: aborts.append(error))
    errors = everyone(lambda ranks: run(ranks, Short(given, axis=1)))
    assert aborts == []  # all know of it
    assert {str(error) for error in errors} == {
        "fit: 1 of 2 ranks have fewer batches than the others; expected as many"
    }
