"""fit on a device: what it copies to the host, and that it keeps every promise though it looks late."""

import copy
import gc
import itertools
import pickle
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from device_training import DEVICE, HOST, OPTIMIZERS, OTHER, Epochs, Model, Watch, assert_same, clips, loss, run, start
from helpers import host
from host_copies import counted

from xprnn import Parameter, Tensor, nn, ops
from xprnn.backend import use_backend
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    ProgressBar,
    cross_entropy,
    fit,
    measured,
)


@clips
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_as_on_the_host(optimizer, clip):
    found, expected = (run(home, Epochs(home, 5), optimizer, **clip) for home in (DEVICE, HOST))
    assert_same(found, expected, rtol=1e-11)
    for name in ("loss", "gradient_norm", "clipped_norm"):
        np.testing.assert_allclose(found[2][name], expected[2][name], rtol=1e-11)


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


@pytest.mark.usefixtures("small_heap")
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


def test_a_callback_may_look_at_each_batch():
    watches = [Watch(), Watch()]
    with counted(DEVICE) as log:
        run(DEVICE, Epochs(DEVICE, 4), epochs=2, callbacks=[watches[0]], clip_norm=0.5)
    assert len(log) == 2 * 4
    run(HOST, Epochs(HOST, 4), epochs=2, callbacks=[watches[1]], clip_norm=0.5)
    np.testing.assert_allclose(watches[0].seen, watches[1].seen, rtol=1e-11)


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
