"""Gradients that travel as bfloat16: what a step loses, the next ones make up for."""

import numpy as np
import pytest
from shared_training import HOST, Model, batches, bits, masked

from xprnn.distributed import MPI, in_threads, world
from xprnn.train import Adam, Checkpoint, fit, sums
from xprnn.train.wire import Narrow

ROUNDING = 2.0**-9  # of a bfloat16, relative: half of the last of 8 bits


@pytest.mark.parametrize("size", [2, 3])
def test_what_is_rounded_away_comes_later(size):
    steps = np.random.default_rng(0).normal(size=(1, size, 3, 5)).astype("float32").repeat(50, axis=0)  # adds up
    exact = steps.astype("float64").sum(axis=1)

    def run(ranks):
        narrow = Narrow(ranks)
        return np.stack([narrow.begin(step[ranks.rank])() for step in steps])

    found = in_threads(run, size)
    assert len({each.tobytes() for each in found}) == 1
    assert not (found[0].view("uint32") & 0xFFFF).any()  # the sums are bfloat16s
    error = np.abs(np.cumsum(found[0].astype("float64") - exact, axis=0))
    largest = np.abs(steps).max() * (1 + ROUNDING)
    bound = ROUNDING * 2 * size * largest * (1 + ROUNDING)  # of each rank's numbers, and of the sums; of one step
    assert 0 < error.max() < bound


@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001])
def test_what_is_not_finite_stays_so(bits):  # the NaNs are such as would carry over, or be rounded to infinity
    odd = np.array([bits], "uint32").view("float32")[0]
    found = in_threads(lambda ranks: Narrow(ranks).begin(np.array([1.0, odd, 2.0], "float32"))(), 2)[0]
    assert found.tolist()[::2] == [2.0, 4.0]
    np.testing.assert_array_equal(found[1], odd)


def run(ranks=None, epochs=15, dtype="float32", **options):
    model = Model(dtype)
    optimizer = Adam(model.parameters(), lr=0.02)
    history = fit(
        model,
        batches(HOST, dtype),
        masked,
        optimizer,
        epochs=epochs,
        progress=False,
        communicator=ranks,
        **options,
    )
    return model, history


def test_training_comes_to_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(sums, "BUCKET", 60)
    model, history = run()
    found = in_threads(run, 3, wire="bfloat16")
    assert len({bits(each) for each, _ in found}) == 1  # in all ranks
    assert bits(in_threads(run, 3, wire="bfloat16")[0][0]) == bits(found[0][0])  # and in another run
    assert bits(found[0][0]) != bits(model)
    assert found[0][1]["loss"][-1] == pytest.approx(history["loss"][-1], rel=0.01)
    wide = in_threads(lambda ranks: run(ranks, 2, "float64"), 2, wire="bfloat16")
    for a, b in zip(wide[0][0].parameters(), run(None, 2, "float64")[0].parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)  # float64 is left alone


def test_a_resumed_run_begins_without_the_rest(tmp_path):
    path = tmp_path / "run.safetensors"
    in_threads(lambda ranks: run(ranks, 2, callbacks=[Checkpoint(path)]), 2, wire="bfloat16")
    resumed = in_threads(lambda ranks: run(ranks, 4, resume=path), 2, wire="bfloat16")
    whole = in_threads(lambda ranks: run(ranks, 4), 2, wire="bfloat16")
    assert bits(resumed[0][0]) == bits(resumed[1][0])
    assert resumed[0][1]["loss"][-1] == pytest.approx(whole[0][1]["loss"][-1], rel=1e-3)


def test_wires_by_name():
    for function in (lambda: world(wire="int8"), lambda: in_threads(len, 2, wire="int8"), lambda: MPI(wire="int8")):
        with pytest.raises(ValueError, match=r"wire is 'int8'; expected"):
            function()
