"""Errors and interrupts of fit on a device: as on the host, late by no more than what waits, and nothing is lost."""

import math
import sys
from functools import cache

import numpy as np
import pytest
from device_training import (
    DEVICE,
    HOST,
    OPTIMIZERS,
    Epochs,
    Model,
    Watch,
    assert_same,
    batch_of,
    clips,
    kinds,
    loss,
    run,
    start,
)
from helpers import host
from host_copies import counted

from xprnn.train import (
    Callback,
    cross_entropy,
    evaluate,
    fit,
    measured,
    save_checkpoint,
    truncated_bptt,
)

MESSAGES = {
    "token": "^Embedding: x contains 7; expected numbers from 0 to 6",
    "length": "^LSTM: lengths contains -1; expected values from 0 to T = 3",
    "class": "^cross_entropy: target contains 5; expected class numbers from 0 to 4",
    "loss": "^fit: the loss is nan in epoch 2, batch 3; no parameter was changed.",
    "gradient": r"^fit: in epoch 2, batch 3: clip_grad_.*: 1 of 7 gradients are not finite: 2 \(shape \(5,\)\);",
}


@kinds
@clips
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_bad_batch_ends_the_run_as_on_the_host(kind, clip, optimizer):
    bad = {(2, 3): (kind,), (2, 4): ("loss",), (2, 5): ("token", "class")}  # what comes later is not heard of
    found, expected = (run(home, Epochs(home, 6, bad), optimizer, **clip) for home in (DEVICE, HOST))
    with pytest.raises(type(expected[2]), match=MESSAGES[kind]):
        raise found[2]
    assert str(found[2]) == str(expected[2])
    assert_same(found, expected, rtol=1e-11)
    assert_same(found, before_it(optimizer, tuple(clip.items())))  # nothing has moved since, not by a bit


@cache
def before_it(name, clip):
    """Model and optimizer after the batch before the bad one, whatever is bad in that."""
    model, optimizer = start(DEVICE, name)
    batches = Epochs(DEVICE, 6)
    options = {"epochs": 1, "progress": False, **dict(clip)}
    fit(model, batches, loss, optimizer, **options)
    fit(model, [batch for batch, _ in zip(batches, range(2), strict=False)], loss, optimizer, **options)
    return model, optimizer


def test_the_first_thing_wrong_in_a_batch_is_what_is_said():
    for bad in (("token", "class"), ("class", "loss"), ("loss", "gradient")):
        found, expected = (run(home, Epochs(home, 3, {(1, 2): bad})) for home in (DEVICE, HOST))
        assert type(found[2]) is type(expected[2])
        assert str(found[2]) == str(expected[2])


@kinds
def test_a_bad_first_batch_leaves_everything_untouched(kind):
    found, expected = run(DEVICE, Epochs(DEVICE, 3, {(1, 1): (kind,)})), start(DEVICE)
    assert isinstance(found[2], (ValueError, FloatingPointError))
    assert_same(found, expected)
    assert found[1].state_dict()["parameters"] == {}
    # and the optimizer goes on as if nothing had been
    for model, optimizer in (found[:2], expected):
        fit(model, Epochs(DEVICE, 3), loss, optimizer, epochs=1, progress=False)
    assert_same(found, expected)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have notes since Python 3.11")
def test_a_late_error_has_a_note_of_its_batch():
    error = run(DEVICE, Epochs(DEVICE, 4, {(2, 3): ("token",)}))[2]
    assert error.__notes__ == ["This was in epoch 2, batch 3, whose numbers came from the device later."]


@pytest.mark.parametrize("kind", ["token", "length", "class"])
def test_a_bad_batch_in_an_evaluation(kind):
    errors = []
    for home in (DEVICE, HOST):
        with pytest.raises(ValueError, match=MESSAGES[kind]) as caught:
            evaluate(start(home)[0], Epochs(home, 6, {(1, 3): (kind,)}), loss)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    # A loss that is not finite is a value like any other.
    assert math.isnan(evaluate(start(DEVICE)[0], Epochs(DEVICE, 3, {(1, 2): ("loss",)}), loss))


@kinds
def test_who_looks_hears_of_a_bad_batch_at_once(kind):
    watch, batches = Watch(), Epochs(DEVICE, 9, {(2, 3): (kind,)})
    found, expected = run(DEVICE, batches, callbacks=[watch]), run(HOST, Epochs(HOST, 9, {(2, 3): (kind,)}))
    assert str(found[2]) == str(expected[2])
    assert batches.drawn == 9 + 3
    assert len(watch.seen) == 9 + 2
    assert_same(found, expected, rtol=1e-11)


def test_an_error_that_a_callback_swallows_is_raised_all_the_same():
    class Deaf(Watch):
        def on_batch_end(self, run):
            try:
                super().on_batch_end(run)
            except ValueError:
                self.seen.append("heard")

        def on_exit(self, run):
            self.seen.append((run.batch, run.loss))

    deaf = Deaf()
    found = run(DEVICE, Epochs(DEVICE, 6, {(1, 3): ("class",)}), callbacks=[deaf])
    expected = run(HOST, Epochs(HOST, 6, {(1, 3): ("class",)}))
    assert str(found[2]) == str(expected[2])
    assert deaf.seen[2:6] == ["heard"] * 4
    assert found[2].__context__ is None
    assert deaf.seen[6] == (3, deaf.seen[1][2])  # the bad batch, and the last loss that meant something
    assert_same(found, expected, rtol=1e-11)


class Stop(Callback):
    def __init__(self, error, batch=4):
        self.error, self.batch = error, batch

    def on_batch_end(self, run):
        if run.batch == self.batch:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("Out of memory"), ValueError("mine")])
def test_other_errors_end_a_run_where_it_is(error):
    model, optimizer = start(DEVICE)
    with pytest.raises(type(error)):
        fit(model, Epochs(DEVICE, 9), loss, optimizer, epochs=2, progress=False, callbacks=[Stop(error)])
    expected = start(DEVICE)
    fit(expected[0], list(Epochs(DEVICE, 4)), loss, expected[1], epochs=1, progress=False)
    assert_same((model, optimizer), expected)


def test_a_bad_batch_comes_before_a_later_error():
    """That would not have been, had somebody looked at once."""
    bad = {(1, 3): ("loss",)}
    found = run(DEVICE, Epochs(DEVICE, 9, bad), callbacks=[Stop(ValueError("mine"))])
    expected = run(HOST, Epochs(HOST, 9, bad), callbacks=[Stop(ValueError("mine"))])
    assert str(found[2]) == str(expected[2])
    assert str(found[2].__context__) == "mine"
    assert_same(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kind", ["token", "length", "class"])
def test_what_is_wrong_in_a_batch_comes_before_a_later_error_in_it(kind):
    def odd(model, batch):
        result = loss(model, batch)
        return [result] if batch is batches[2] else result

    for home in (DEVICE, HOST):
        model, optimizer = start(home)
        batches = list(Epochs(home, 5, {(1, 3): (kind,)}))
        with pytest.raises(ValueError, match=MESSAGES[kind]):
            fit(model, batches, odd, optimizer, epochs=1, progress=False)
        assert optimizer.counts == [2] * 7


def test_checks_of_what_makes_the_batches_are_postponed_too():
    """The forward pass of a chunk runs while the batch is drawn."""

    class Chunks:
        def __init__(self, home, model, wrong):
            tokens = np.random.default_rng(0).integers(0, 7, (12, 2))
            tokens[7, 1] += 50 * wrong
            self.model, self.tokens, self.home = model, home.asarray(tokens), home

        def __iter__(self):
            body = lambda x, state: self.model.lstm(self.model.table(x), state)
            for chunk in truncated_bptt(body, self.tokens, k1=3):
                yield chunk, self.home.asarray(np.array([[0, 1]] * 3))

    def chunk_loss(model, batch):
        return cross_entropy(model.out(batch[0].output), batch[1])

    results = []
    for home in (DEVICE, HOST):
        model, optimizer = start(home)
        with counted(DEVICE) as log:
            fit(model, Chunks(home, model, False), chunk_loss, optimizer, epochs=2, progress=False)
        assert len(log) == (2 if home is DEVICE else 0)
        with pytest.raises(ValueError, match="Embedding: x contains 5"):
            fit(model, Chunks(home, model, True), chunk_loss, optimizer, epochs=2, progress=False)
        results.append((model, optimizer))
    assert_same(*results, rtol=1e-11)


def test_what_is_wrong_after_the_last_batch_is_heard_of():
    def batches():
        yield batch_of(DEVICE, 1)
        Model().table.to(DEVICE)(DEVICE.asarray(np.array([9])))

    model, optimizer = start(DEVICE)
    source = type("Source", (), {"__iter__": lambda self: batches()})()
    with pytest.raises(ValueError, match="Embedding: x contains 9"):
        fit(model, source, loss, optimizer, epochs=1, progress=False)


@pytest.mark.parametrize("look", [True, False])
def test_an_interrupt_while_waiting_loses_nothing(look, monkeypatch):
    """Ctrl-C comes most likely where the run waits for the device."""

    def interrupted(array):
        monkeypatch.setattr(measured, "to_numpy", host)
        raise KeyboardInterrupt

    class Press(Callback):
        def on_batch_end(self, run):
            if run.batch == 5:
                monkeypatch.setattr(measured, "to_numpy", interrupted)
                if look:
                    run.loss  # noqa: B018

    bad = {(1, 3): ("class",)}
    model, optimizer = start(DEVICE)
    with pytest.raises(ValueError, match=MESSAGES["class"]) as caught:
        fit(model, Epochs(DEVICE, 9, bad), loss, optimizer, epochs=1, progress=False, callbacks=[Press()])
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert_same((model, optimizer), run(HOST, Epochs(HOST, 9, bad)), rtol=1e-11)
    # Where nothing is wrong, it ends the run as anywhere.
    model, optimizer = start(DEVICE)
    with pytest.raises(KeyboardInterrupt):
        fit(model, Epochs(DEVICE, 9), loss, optimizer, epochs=1, progress=False, callbacks=[Press()])
    assert optimizer.counts == [5 if look else 9] * 7


def test_nothing_is_kept_of_a_run_that_has_gone_wrong(tmp_path):
    class Keep(Callback):
        def on_batch_end(self, run):
            save_checkpoint(tmp_path / f"{run.batch}", **run.parts)

    error = run(DEVICE, Epochs(DEVICE, 6, {(1, 3): ("loss",)}), callbacks=[Keep()])[2]
    assert str(error).startswith("fit: the loss is nan in epoch 1, batch 3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
