"""Metrics beside the loss: in the history, over all elements, and watched by callbacks."""

import math

import array_api_strict
import numpy as np
import pytest

from xprnn import Parameter, Tensor, nn
from xprnn.backend import get_backend
from xprnn.data import Batches
from xprnn.grad_mode import is_grad_enabled
from xprnn.train import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    History,
    evaluate,
    fit,
    load_checkpoint,
    mae,
    mse,
)

DEVICE = get_backend("array_api_strict", array_api_strict.Device("device1"))
quiet = {"progress": False}


class Line(nn.Module):
    def __init__(self, w=0.0):
        self.w = Parameter(np.array([w]))
        self.dropout = nn.Dropout(0.5, rng=0)


def line_loss(model, batch):
    return mse(model.w * batch[0], batch[1])


def test_metrics_are_recorded_over_all_elements():
    x, y = np.ones(3), np.array([0.0, 0.0, 3.0])
    model = Line()
    metrics = {
        "mean": lambda m, b: mae(m.w * b[0], b[1]),  # weighs by elements
        "number": lambda m, b: float(b[1].mean()),  # a plain number, by the size of the batch
        "wrong": lambda m, b: (np.mean(b[1] != 0), len(b[1])),
    }
    batches = Batches(x, y, batch_size=2)
    history = fit(
        model, batches, line_loss, SGD([model.w], 0.0), epochs=2, validation=batches, metrics=metrics, **quiet
    )
    record = history.epochs[0]
    assert list(record) == [
        *("loss", "mean", "number", "wrong", "validation_loss", "validation_mean", "validation_number"),
        *("validation_wrong", "lr", "gradient_norm", "clipped_norm", "seconds"),
    ]
    for name in ("mean", "number"):
        assert record[name] == record[f"validation_{name}"] == pytest.approx(1.0)
    assert record["wrong"] == record["validation_wrong"] == pytest.approx(1 / 3)
    assert history["val_wrong"] == history["validation_wrong"]
    assert history["val_loss"] == history["validation_loss"]
    assert evaluate(model, batches, metrics["wrong"]) == pytest.approx(1 / 3)


def test_metrics_change_nothing():
    """Neither the modes, nor what is recorded, nor the random numbers of the training."""
    modes, results = [], []

    def metric(model, batch):
        modes.append((model.training, is_grad_enabled()))
        model.dropout(np.ones(3))
        return 1.0

    for metrics in (None, {}, {"metric": metric}):
        model = Line()
        loss = lambda m, b: mse(m.dropout(m.w * b[0]), b[1])
        data = Batches(np.ones(8), np.arange(8.0), batch_size=2)
        fit(model, data, loss, SGD([model.w], 0.1), epochs=2, metrics=metrics, **quiet)
        results.append(model.w.item())
    assert modes == [(False, False)] * 8
    assert len(set(results)) == 1


def test_metrics_come_from_a_device_with_the_losses():
    from host_copies import counted

    model = nn.Linear(2, 1, dtype="float64", rng=0)
    model.to(DEVICE)
    batches = [DEVICE.asarray(np.full((2, 2), k)) for k in (1.0, 2.0, 6.0)]
    zero = DEVICE.asarray(np.zeros((2, 1)))
    loss, metric = lambda m, b: mse(m(b), zero), lambda m, b: Tensor(b[0, 0])
    options = {"epochs": 2, "metrics": {"first": metric}, "validation": batches, **quiet}
    with counted(DEVICE) as log:
        history = fit(model, batches, loss, SGD(model.parameters(), 0.0), **options)
    assert log == ["to_device"] * 4
    assert history["first"] == history["val_first"] == [3.0, 3.0]


@pytest.mark.parametrize("name", ["loss", "lr", "seconds", "validation_loss", "val_a", 3])
def test_names_that_are_taken(name):
    with pytest.raises(ValueError, match=f"fit: a metric is named {name!r}; expected another name than loss, lr"):
        fit(Line(), [0], line_loss, SGD(Line().parameters()), epochs=1, metrics={name: line_loss}, **quiet)


def test_wrong_metrics():
    model = Line()
    options = {"epochs": 1, **quiet}
    with pytest.raises(TypeError, match=r"fit: metrics\['a'\] is a float; expected a function"):
        fit(model, [0], line_loss, SGD([model.w]), metrics={"a": 1.0}, **options)
    batch = (np.ones(1), np.ones(1))
    for result, message in ((None, "NoneType"), (np.ones(2), r"Tensor of shape \(2,\)"), ("good", "str")):
        with pytest.raises(TypeError, match=rf"metrics\['a'\]\(model, batch\) returned a {message}; expected"):
            fit(model, [batch], line_loss, SGD([model.w]), metrics={"a": lambda m, b, r=result: r}, **options)


def follow(values, callbacks):
    """A run whose validation accuracy takes these values; w counts the epochs."""
    model, left = Line(), iter(values)

    def accuracy(model, batch):
        return 0.0 if batch == "train" else next(left)

    def loss(model, batch):
        return mse(model.w, model.w.data + 1.0)  # gradient -2: each step adds 1

    options = {"validation": ["validate"], "metrics": {"accuracy": accuracy}, "callbacks": callbacks, **quiet}
    history = fit(model, ["train"], loss, SGD([model.w], 0.5), epochs=len(values), **options)
    return model, history


def test_early_stopping_on_a_metric():
    stopping = EarlyStopping(2, monitor="val_accuracy", mode="max")
    model, history = follow([0.2, 0.7, math.nan, 0.7, 0.9], [stopping])
    assert len(history) == 4
    assert (stopping.best, stopping.best_epoch, model.w.item()) == (0.7, 2, 2.0)
    stopping = EarlyStopping(1, 0.15, monitor="validation_accuracy", mode="min", restore_best=False)
    model, history = follow([0.9, 0.7, 0.6, 0.1], [stopping])
    assert (len(history), model.w.item(), stopping.best) == (3, 3.0, 0.7)


def test_the_best_checkpoint(tmp_path):
    path, written = tmp_path / "best", []

    class Look(Callback):
        def on_epoch_end(self, run):  # before the checkpoint of the same epoch
            written.append(path.exists())
            path.unlink(missing_ok=True)

    checkpoint = Checkpoint(path, monitor="val_accuracy", mode="max")
    follow([0.2, math.nan, 0.5, 0.5, 0.4, 0.6, 0.1], [Look(), checkpoint])
    assert written == [False, True, False, True, False, False, True]
    follow([0.2, 0.5, 0.4], [checkpoint])
    model = Line()
    load_checkpoint(path, model=model)
    assert model.w.item() == 2.0
    follow([math.nan, 0.5, 0.4], [Checkpoint(path, monitor="val_accuracy")])
    load_checkpoint(path, model=model)
    assert model.w.item() == 3.0


def test_what_will_not_be_recorded_is_refused_before_training():
    for callback in (EarlyStopping(1, monitor="val_accuracy"), Checkpoint("c", monitor="val_loss")):
        steps, model = [], Line()
        with pytest.raises(
            ValueError, match="monitor is 'val_.*'; expected one of loss, lr, gradient_norm, .*, error$"
        ):
            fit(
                model,
                [0],
                lambda m, b, steps=steps: steps.append(b),
                SGD([model.w]),
                epochs=1,
                callbacks=[callback],
                metrics={"error": line_loss},
                **quiet,
            )
        assert not steps


def test_settings():
    for kind in (lambda **o: EarlyStopping(1, **o), lambda **o: Checkpoint("c", **o)):
        with pytest.raises(ValueError, match="mode is 'up'; expected 'min' or 'max'"):
            kind(monitor="loss", mode="up")
    with pytest.raises(ValueError, match="Checkpoint: every and monitor are both given"):
        Checkpoint("c", 2, monitor="loss")
    with pytest.raises(ValueError, match="Checkpoint: mode is given, but no monitor"):
        Checkpoint("c", mode="max")
    with pytest.raises(KeyError, match="'validation_loss' was not recorded"):
        History()["val_loss"]


def test_resuming_with_a_metric_to_stop_on(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 2))

    def run(epochs, resume=None):
        model = nn.Linear(2, 1, dtype="float64", rng=0)
        stopping = EarlyStopping(2, monitor="val_error", mode="max")
        fit(
            model,
            Batches(x, batch_size=5),
            lambda m, b: mse(m(b[0]), b[0][:, :1]),
            Adam(model.parameters(), 0.1),
            epochs=epochs,
            validation=[(x,)],
            metrics={"error": lambda m, b: -mse(m(b[0]), b[0][:, :1])},
            callbacks=[stopping, Checkpoint(tmp_path / "c")],
            resume=resume,
            **quiet,
        )
        return [stopping.best, *[p.data.tolist() for p in model.parameters()]]

    whole = run(5)
    run(2)
    assert run(5, tmp_path / "c") == whole
