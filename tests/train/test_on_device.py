"""fit on a device: what it copies to the host, and that it keeps every promise though it looks late."""

import copy
import gc
import itertools
import math
import pickle
import sys
import weakref
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from helpers import host
from host_copies import counted

from xprnn import Parameter, Tensor, nn, ops
from xprnn.backend import get_backend, use_backend
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    AdamW,
    Callback,
    Checkpoint,
    EarlyStopping,
    ProgressBar,
    RMSprop,
    cross_entropy,
    evaluate,
    fit,
    measured,
    save_checkpoint,
    truncated_bptt,
)

DEVICE, OTHER = (get_backend("array_api_strict", array_api_strict.Device(name)) for name in ("device1", "device2"))
HOST = get_backend("numpy")
OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.05, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.05),
    "rmsprop": lambda p: RMSprop(p, lr=0.05, momentum=0.9, weight_decay=0.1),
}


class Model(nn.Module):
    def __init__(self):
        self.table, self.out = nn.Embedding(7, 3, dtype="float64", rng=0), nn.Linear(4, 5, dtype="float64", rng=0)
        self.lstm = nn.LSTM(3, 4, dtype="float64", rng=0)


def loss(model, batch):
    tokens, lengths, classes, scale, slope = batch
    output, _ = model.lstm(model.table(tokens), lengths=lengths)
    steep = ops.sqrt(ops.sum(ops.square(model.out.bias * slope)))  # 0 has no slope
    return ops.mean(cross_entropy(model.out(output[0]), classes) * scale) + 0.0 * steep


def batch_of(home, k, bad=()):
    draws = np.random.default_rng(k)
    tokens, classes, lengths = draws.integers(0, 7, (3, 4)), draws.integers(0, 5, 4), draws.integers(1, 4, 4)
    scale, slope = np.ones(1), np.ones(1)
    if "token" in bad:
        tokens[1, 2] = 7
    if "length" in bad:
        lengths[0] = -1
    if "class" in bad:
        classes[3] = 5
    if "loss" in bad:
        scale[0] = math.nan
    if "gradient" in bad:
        slope[0] = 0.0
    return tuple(home.asarray(array) for array in (tokens, lengths, classes, scale, slope))


class Epochs:
    """Batches that are bad in certain epochs: {(epoch, batch): what is bad}, counted from 1."""

    def __init__(self, home, count, bad=None):
        self.home, self.count, self.bad, self.epoch, self.drawn = home, count, bad or {}, 0, 0

    def __len__(self):
        return self.count

    def __iter__(self):
        self.epoch += 1
        for k in range(1, self.count + 1):
            self.drawn += 1
            yield batch_of(self.home, 100 * self.epoch + k, self.bad.get((self.epoch, k), ()))


def start(home, optimizer="adam"):
    model = Model()
    model.to(home)
    return model, OPTIMIZERS[optimizer](model.parameters())


def run(home, batches, optimizer="adam", epochs=3, **options):
    """The model, the optimizer, and the history or the error."""
    model, optimizer = start(home, optimizer)
    try:
        with np.errstate(all="ignore"):
            return model, optimizer, fit(model, batches, loss, optimizer, epochs=epochs, progress=False, **options)
    except Exception as error:
        return model, optimizer, error


def assert_same(found, expected, rtol=0.0):
    """Parameters and the optimizer's state, to the last bit or to a tolerance."""
    for a, b in zip(found[0].parameters(), expected[0].parameters(), strict=True):
        np.testing.assert_allclose(host(a), host(b), rtol=rtol, atol=rtol)
    a, b = (side[1].state_dict() for side in (found, expected))
    assert a["settings"] == b["settings"]
    assert a["parameters"].keys() == b["parameters"].keys()
    for name, slots in a["parameters"].items():
        assert slots["step"] == b["parameters"][name]["step"]
        for key in slots.keys() - {"step"}:
            np.testing.assert_allclose(
                host(slots[key]), host(b["parameters"][name][key]), rtol=rtol, atol=rtol, err_msg=key
            )


CLIPS = {"": {}, "by norm": {"clip_norm": 0.5}, "by value": {"clip_value": 0.05}}
clips = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS.keys())
kinds = pytest.mark.parametrize("kind", ["token", "length", "class", "loss", "gradient"])
MESSAGES = {
    "token": "^Embedding: x contains 7; expected numbers from 0 to 6",
    "length": "^LSTM: lengths contains -1; expected values from 0 to T = 3",
    "class": "^cross_entropy: target contains 5; expected class numbers from 0 to 4",
    "loss": "^fit: the loss is nan in epoch 2, batch 3; no parameter was changed.",
    "gradient": r"^fit: in epoch 2, batch 3: clip_grad_.*: 1 of 7 gradients are not finite: 2 \(shape \(5,\)\);",
}


@clips
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_as_on_the_host(optimizer, clip):
    found, expected = (run(home, Epochs(home, 5), optimizer, **clip) for home in (DEVICE, HOST))
    assert_same(found, expected, rtol=1e-11)
    for name in ("loss", "gradient_norm", "clipped_norm"):
        np.testing.assert_allclose(found[2][name], expected[2][name], rtol=1e-11)


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
    # Nothing has moved since the batch before, not by a bit.
    model, optimizer = start(DEVICE, optimizer)
    batches = Epochs(DEVICE, 6)
    options = {"epochs": 1, "progress": False, **clip}
    fit(model, batches, loss, optimizer, **options)
    fit(model, [batch for batch, _ in zip(batches, range(2), strict=False)], loss, optimizer, **options)
    assert_same(found, (model, optimizer))


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


@clips
def test_one_copy_an_epoch(clip):
    with counted(DEVICE) as log:
        run(DEVICE, Epochs(DEVICE, 9), epochs=3, **clip)
    assert log == ["to_device"] * 3


def test_one_copy_for_every_so_many_batches_and_an_error_is_late_by_no_more(monkeypatch):
    monkeypatch.setattr(measured, "AT_MOST", 4)
    for count, copies in ((4, 1), (5, 2), (11, 3)):
        with counted(DEVICE) as log:
            run(DEVICE, Epochs(DEVICE, count), epochs=1)
        assert len(log) == copies
    batches = Epochs(DEVICE, 100, {(1, 6): ("class",)})
    found, expected = run(DEVICE, batches), run(HOST, Epochs(HOST, 100, {(1, 6): ("class",)}))
    assert batches.drawn == 8
    assert str(found[2]) == str(expected[2])
    assert_same(found, expected, rtol=1e-11)


@clips
def test_what_waits_holds_no_arrays_of_its_batch(clip):
    """Else 64 batches would lie in the device's memory, and their gradients."""
    model, optimizer = start(DEVICE)
    seen, alive = [], []

    def watched(model, batch):
        gc.collect()
        alive.append(sum(reference() is not None for reference in seen))
        result = loss(model, batch)
        seen.extend(weakref.ref(array) for array in (*batch[:3], result.data))
        return result

    class Gradients(Callback):
        def on_batch_end(self, run):
            seen.extend(weakref.ref(p.grad.data) for p in run.model.parameters())

    options = {"epochs": 1, "callbacks": [Gradients()], "progress": False, **clip}
    fit(model, Epochs(DEVICE, 6), watched, optimizer, **options)
    assert len(seen) == 6 * (4 + 7)
    assert alive == [0, *[alive[1]] * 5]  # of the last batch, which names still hold


def test_validation_is_one_copy():
    with counted(DEVICE) as log:
        _, _, history = run(DEVICE, Epochs(DEVICE, 5), epochs=2, validation=Epochs(DEVICE, 7))
    assert len(log) == 2 * 2
    expected = run(HOST, Epochs(HOST, 5), epochs=2, validation=Epochs(HOST, 7))[2]
    np.testing.assert_allclose(history["validation_loss"], expected["validation_loss"], rtol=1e-12)


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


class Watch(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, run):
        self.seen.append((run.epoch, run.batch, run.loss, run.gradient_norm, run.clipped_norm))


def test_a_callback_may_look_at_each_batch():
    watches = [Watch(), Watch()]
    with counted(DEVICE) as log:
        run(DEVICE, Epochs(DEVICE, 4), epochs=2, callbacks=[watches[0]], clip_norm=0.5)
    assert len(log) == 2 * 4
    run(HOST, Epochs(HOST, 4), epochs=2, callbacks=[watches[1]], clip_norm=0.5)
    np.testing.assert_allclose(watches[0].seen, watches[1].seen, rtol=1e-11)


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


def test_a_shared_weight_that_stays_without_gradient():
    """No gradient at all in some batch: there is no norm on the device."""
    results = []
    for home in (DEVICE, HOST):
        w = Parameter(home.asarray(np.array([2.0])))
        model = nn.Module()
        model.w = w
        optimizer = SGD([w], lr=0.1, momentum=0.9)

        def partly(model, batch, home=home):
            constant = Tensor(home.asarray(np.ones(1)), requires_grad=True)
            return ops.sum(ops.square(model.w)) if batch != 1 else ops.sum(constant)

        history = fit(model, [0, 1, 2], partly, optimizer, epochs=2, clip_norm=0.5, progress=False)
        results.append((host(w).tolist(), history["loss"], history["gradient_norm"], history["clipped_norm"]))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-14)
    np.testing.assert_allclose(results[0][1:], results[1][1:], rtol=1e-14)


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_features_may_come_from_another_device(home, bad):
    """The checks of the model that makes them lie there, and what is trained here obeys them."""
    results = []
    for place in (OTHER, HOST):
        model = nn.Linear(3, 2, dtype="float64", rng=0).to(home)
        optimizer, features = Adam(model.parameters(), lr=0.1), nn.Embedding(7, 3, dtype="float64", rng=0).to(place)

        def squares(model, batch, place=place, features=features):
            tokens = place.asarray(np.array([0, 6 + (bad and batch == 3)]))
            return ops.mean(ops.square(model(home.asarray(host(features(tokens))))))

        try:
            end = fit(model, [1, 2, 3, 4], squares, optimizer, epochs=2, progress=False)["loss"]
        except ValueError as error:
            end = str(error)
        results.append((model, optimizer, end))
    assert_same(*results, rtol=1e-11)
    assert isinstance(results[0][2], str) == bad
    assert results[0][2] == (results[1][2] if bad else pytest.approx(results[1][2]))


def test_each_batch_may_be_on_a_device_of_its_own():
    class Parts(nn.Module):
        def __init__(self):
            self.one, self.two, self.three = (nn.Linear(3, 2, dtype="float64", rng=k) for k in range(3))

    class Last(Watch):
        def on_batch_end(self, run):
            pass

        def on_epoch_end(self, run):
            self.seen.append(run.loss)

    results = []
    for homes in ((DEVICE, OTHER, HOST), [HOST] * 3):
        model = Parts()
        parts = model.one, model.two, model.three
        for part, home in zip(parts, homes, strict=True):
            part.to(home)

        def squares(model, k, parts=parts, homes=homes):
            return ops.mean(ops.square(parts[k](homes[k].asarray(np.ones((2, 3))))))

        optimizer, batches, last = Adam(model.parameters(), lr=0.1), [0, 1, 2, 0, 1, 2], Last()
        options = {"epochs": 2, "validation": [1, 0, 2], "callbacks": [last], "progress": False}
        history = fit(model, batches, squares, optimizer, **options)
        results.append((model, optimizer, history, last.seen))
    assert_same(*results, rtol=1e-11)
    np.testing.assert_allclose(results[0][3], results[1][3], rtol=1e-11)
    for name in ("loss", "gradient_norm", "validation_loss"):
        np.testing.assert_allclose(results[0][2][name], results[1][2][name], rtol=1e-11)


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


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])
@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_a_run_can_be_copied_between_batches(home, copied):
    class Copy(Watch):
        def on_batch_end(self, run):
            there = copied(run)
            super().on_batch_end(run)
            assert (there.epoch, there.batch, there.loss, there.gradient_norm) == self.seen[-1][:4]

    copies = Copy()
    run(home, Epochs(home, 3), epochs=2, callbacks=[copies])
    assert len(copies.seen) == 6


@pytest.mark.parametrize("home", [HOST, DEVICE], ids=str)
def test_the_last_loss_stays_until_there_is_another(home):
    class Curious(Epochs):
        def __iter__(self):
            for batch in super().__iter__():
                seen.append(now.run.loss)
                yield batch

    class Now(Watch):
        def on_fit_start(self, run):
            self.run = run

    seen, now = [], Now()
    run(home, Curious(home, 3), epochs=2, callbacks=[now])
    assert seen == [0.0, *[record[2] for record in now.seen[:-1]]]


def test_an_optimizer_with_a_step_of_its_own_serves_on_the_host():
    class Own(SGD):
        def step(self):
            super().step()

    results = []
    for kind in (Own, SGD):
        model = Model()
        optimizer = kind(model.parameters(), lr=0.1)
        fit(model, Epochs(HOST, 3), loss, optimizer, epochs=1, progress=False)
        results.append(host(tuple(model.parameters())))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_bar_looks_seldom(monkeypatch, capsys):
    ticks = itertools.count(step=0.125)
    monkeypatch.setattr("xprnn.train.callbacks.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    shown = []

    class Bar(ProgressBar):
        def on_batch_end(self, run):
            super().on_batch_end(run)
            shown.append(self._bar.postfix)

        def on_exit(self, run):
            shown.append(self._bar.postfix)
            super().on_exit(run)

    run(HOST, Epochs(HOST, 18), epochs=1, callbacks=[watch := Watch()])
    expected = [f"loss {record[2]:.4g}" for record in watch.seen]
    for home, looks in ((HOST, range(18)), (DEVICE, [3, 7, 11, 15])):  # four batches take half a second here
        model, optimizer = start(home)
        shown.clear()
        with counted(DEVICE) as log:
            fit(model, Epochs(home, 18), loss, optimizer, epochs=1, callbacks=[Bar()])
        assert len(log) == (len(looks) + 1 if home is DEVICE else 0)
        last = [max((n for n in looks if n <= k), default=None) for k in range(18)]
        assert shown == [None if n is None else expected[n] for n in last] + [expected[-1]]
    assert "epoch 1/1: loss" in capsys.readouterr().err


def train_with_checkpoints(path, seed, callbacks=(), resume=None):
    with use_backend("array_api_strict", DEVICE.device):
        draws = np.random.default_rng(3)
        x, y = DEVICE.asarray(draws.integers(0, 7, (3, 20))), DEVICE.asarray(draws.integers(0, 5, (1, 20)))
        model = Model()
        model.drop = nn.Dropout(0.3, rng=seed)
        optimizer = Adam(model.parameters(), lr=0.05)
        history = fit(
            model,
            Batches(x, y, batch_size=6, axis=1, shuffle=True, rng=seed),
            lambda m, b: cross_entropy(m.out(m.drop(m.lstm(m.table(b[0]))[0][-1])), b[1][0, ...]),
            optimizer,
            epochs=5,
            clip_norm=0.5,
            callbacks=[Checkpoint(path), EarlyStopping(9), *callbacks],
            resume=resume,
            progress=False,
        )
    return model, optimizer, [history[name] for name in ("loss", "gradient_norm", "clipped_norm")]


def test_resuming_gives_the_same_bits(tmp_path):
    class Interrupt(Callback):
        def on_batch_end(self, run):
            if run.epoch == 3 and run.batch == 2:
                raise KeyboardInterrupt

    whole = train_with_checkpoints(tmp_path / "whole", 0)
    with pytest.raises(KeyboardInterrupt):
        train_with_checkpoints(tmp_path / "part", 0, callbacks=[Interrupt()])
    resumed = train_with_checkpoints(tmp_path / "part", 99, callbacks=[Callback()], resume=tmp_path / "part")
    assert resumed[2] == whole[2]
    assert_same(resumed, whole)


def test_nothing_is_kept_of_a_run_that_has_gone_wrong(tmp_path):
    class Keep(Callback):
        def on_batch_end(self, run):
            save_checkpoint(tmp_path / f"{run.batch}", **run.parts)

    error = run(DEVICE, Epochs(DEVICE, 6, {(1, 3): ("loss",)}), callbacks=[Keep()])[2]
    assert str(error).startswith("fit: the loss is nan in epoch 1, batch 3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
