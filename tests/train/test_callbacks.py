"""Callbacks of fit: their order, early stopping, checkpoints and resuming, and the progress bar."""

import math
import sys

import numpy as np
import pytest
from fitted_lines import Line, Model, data, line_loss, points, quiet

from xprnn import Tensor, ops
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    Cosine,
    EarlyStopping,
    ProgressBar,
    ReduceOnPlateau,
    fit,
    mse,
)


def test_hooks_in_order():
    calls = []

    class Recorder(Callback):
        def on_fit_start(self, run):
            calls.append(("start", run.epoch, run.epochs, run.batches))

        def on_batch_end(self, run):
            calls.append(("batch", run.epoch, run.batch, run.loss))

        def on_epoch_end(self, run):
            calls.append(("epoch", run.epoch, len(run.history), run.metric))
            run.stop = run.epoch == 2

        def on_fit_end(self, run):
            calls.append(("end", run.epoch))

    model = Line(1.0)
    batches = points((1.0, 0.0))
    history = fit(model, batches, line_loss, SGD(model.parameters(), 0.0), epochs=9, callbacks=[Recorder()], **quiet)
    epoch = [("batch", 1, 1, 1.0), ("epoch", 1, 1, 1.0)]
    assert calls == [("start", 0, 9, 1), *epoch, ("batch", 2, 1, 1.0), ("epoch", 2, 2, 1.0), ("end", 2)]
    assert len(history) == 2
    fit(model, batches, line_loss, SGD(model.parameters()), epochs=1, callbacks=[Callback()], **quiet)


def scripted(*losses):
    """A validation whose loss follows a script, one number for each epoch, while the weight counts epochs."""
    script = iter(losses)

    def loss(model, batch):
        return ops.sum(model.w) * -1.0 if batch == "train" else Tensor(next(script))

    return {"batches": ["train"], "validation": ["check"], "loss": loss}


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(restore):
    model = Line()
    stopping = EarlyStopping(2, min_delta=0.1, restore_best=restore)
    options = {"optimizer": SGD(model.parameters(), 1.0), "epochs": 9, "callbacks": [stopping], **quiet}
    history = fit(model, **scripted(3.0, 1.0, 0.95, math.nan, 0.1), **options)
    assert len(history) == 4
    assert model.w.item() == (2.0 if restore else 4.0)
    assert stopping.best == 1.0
    # a new run starts anew
    assert len(fit(model, **scripted(9.0, 8.0, 8.0, 8.0, 8.0), **options)) == 4
    assert stopping.best == 8.0
    # and without validation the training loss counts
    fit(model, ["train"], scripted()["loss"], SGD(model.parameters(), 1.0), epochs=3, callbacks=[stopping], **quiet)
    assert stopping.best == -model.w.item() + 1.0


def test_callback_errors():
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match=r"EarlyStopping: patience is .*; expected an integer of at least 1"):
            EarlyStopping(wrong)
        with pytest.raises(ValueError, match="Checkpoint: every is"):
            Checkpoint("x", every=wrong)
    for wrong in (-0.1, math.nan, "0.1"):
        with pytest.raises(ValueError, match="EarlyStopping: min_delta is .*; expected a number of at least 0"):
            EarlyStopping(1, min_delta=wrong)
    with pytest.raises(ValueError, match="EarlyStopping: the state was kept with restore_best=False"):
        EarlyStopping(1).load_state_dict({"best": 1.0, "best_epoch": 1, "waited": 0, "weights": {}})


def test_progress_goes_to_stderr(capsys):
    model = Line()
    for batches in (points((1.0, 2.0)), type("Stream", (), {"__iter__": lambda self: iter(points((1.0, 2.0)))})()):
        fit(model, batches, line_loss, SGD(model.parameters()), epochs=2, validation=points((1.0, 2.0)))
        out, err = capsys.readouterr()
        assert out == ""
        assert "2/2" in err
        assert "validation loss" in err


def training(path, seed, schedule_kind, epochs=7, callbacks=(), resume=None, patience=3):
    x, y = data()
    model = Model(seed)
    optimizer = Adam(model.parameters(), 0.05)
    schedule = {"cosine": lambda: Cosine(optimizer, 7, 2), "plateau": lambda: ReduceOnPlateau(optimizer, patience=0)}
    batches = Batches(x, y[0][None], batch_size=6, axis=1, shuffle=True, rng=np.random.Generator(np.random.SFC64(seed)))
    history = fit(
        model,
        batches,
        lambda m, b: mse(m(b[0]), b[1][0]),
        optimizer,
        epochs=epochs,
        validation=Batches(*data(1), batch_size=20, axis=1) if schedule_kind == "plateau" else None,
        clip_norm=0.5,
        schedule=schedule[schedule_kind](),
        callbacks=[Checkpoint(path), EarlyStopping(patience), *callbacks],
        resume=resume,
        **quiet,
    )
    records = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]
    return model, optimizer, records


@pytest.mark.parametrize("patience", [1, 3, 50])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_resuming_gives_the_same_bits(tmp_path, schedule, patience):
    class Interrupt(Callback):
        def on_batch_end(self, run):
            if run.epoch == 4 and run.batch == 2:
                raise KeyboardInterrupt

    whole = training(tmp_path / "whole", 0, schedule, patience=patience)
    try:
        training(tmp_path / "part", 0, schedule, callbacks=[Interrupt()], patience=patience)
    except KeyboardInterrupt:
        assert len(whole[2]) >= 4
    # another seed: everything that matters comes from the file
    resumed = training(
        tmp_path / "part", 99, schedule, resume=tmp_path / "part", callbacks=[Callback()], patience=patience
    )
    assert resumed[2] == whole[2]
    for a, b in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for k, slots in whole[1].state_dict()["parameters"].items():
        for name, array in slots.items():
            np.testing.assert_array_equal(array, resumed[1].state_dict()["parameters"][k][name])
    # and a finished run, resumed, has nothing left to do
    again = training(tmp_path / "part", 5, schedule, resume=tmp_path / "part", patience=patience)
    assert again[2] == whole[2]
    for a, b in zip(whole[0].parameters(), again[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_resuming_needs_the_same_parts(tmp_path):
    model = Line()
    optimizer, batches = SGD(model.parameters()), points((1.0, 1.0))
    path = tmp_path / "c"
    stopping = EarlyStopping(5)
    fit(model, batches, line_loss, optimizer, epochs=3, callbacks=[Checkpoint(path, every=2), stopping], **quiet)
    with pytest.raises(
        ValueError, match="run refuses: it was made by a run of EarlyStopping_0, model, optimizer, run; this"
    ):
        fit(model, batches, line_loss, optimizer, epochs=4, resume=path, **quiet)
    with pytest.raises(ValueError, match="has no schedule; it has"):
        fit(model, batches, line_loss, optimizer, epochs=4, resume=path, schedule=ReduceOnPlateau(optimizer), **quiet)
    more = fit(model, batches, line_loss, optimizer, epochs=4, resume=path, callbacks=[Callback(), stopping], **quiet)
    assert len(more) == 4


def test_checkpoints_come_every_few_epochs_and_at_the_end(tmp_path):
    written = []

    class Look(Callback):
        def on_epoch_end(self, run):
            written.append((tmp_path / "c").exists())
            (tmp_path / "c").unlink(missing_ok=True)

    model = Line()
    callbacks = [Checkpoint(tmp_path / "c", every=2), Look()]
    fit(model, points((1.0, 1.0)), line_loss, SGD(model.parameters()), epochs=5, callbacks=callbacks, **quiet)
    assert written == [False, False, True, False, True]
    assert (tmp_path / "c").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_progress_bar_is_closed_whatever_happens(error, capsys):
    class Interrupt(Callback):
        def on_batch_end(self, run):
            raise error

    bar, model = ProgressBar(), Line()
    with pytest.raises(error):
        fit(model, points((1.0, 2.0)), line_loss, SGD(model.parameters()), epochs=2, callbacks=[bar, Interrupt()])
    assert bar._bar.disable  # tqdm's sign of having been closed


def test_without_a_standard_error_there_is_no_progress_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as pythonw has it
    model = Line()
    assert len(fit(model, points((1.0, 2.0)), line_loss, SGD(model.parameters()), epochs=2)["loss"]) == 2


def test_the_progress_bar_says_that_the_run_was_stopped(capsys):
    model = Line(2.0)  # perfect from the start, so no later epoch is better
    optimizer = SGD(model.parameters())
    fit(model, points((1.0, 2.0)), line_loss, optimizer, epochs=np.int64(9), callbacks=[EarlyStopping(np.int64(2))])
    assert "stopped early after epoch 3, best epoch 1" in capsys.readouterr().err.splitlines()[-1].split("\r")[-1]
