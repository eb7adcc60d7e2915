"""fit: what it records, what it refuses, and the modes that it leaves alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fitted_lines import Line, Model, data, line_loss, points, quiet

from xprnn import Parameter, Tensor, nn, ops
from xprnn.data import Batches
from xprnn.grad_mode import is_grad_enabled
from xprnn.train import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    Exponential,
    History,
    evaluate,
    fit,
    mse,
)


def test_one_epoch_by_hand():
    model = Line()
    # w = 0: loss 4, gradient -4, w = 0.4; then loss 0.16 * 1 against 0: gradient 0.8, w = 0.32
    history = fit(model, points((1.0, 2.0), (1.0, 0.0)), line_loss, SGD(model.parameters(), 0.1), epochs=1, **quiet)
    assert model.w.item() == pytest.approx(0.32)
    assert history["loss"] == [pytest.approx((4 + 0.16) / 2)]
    assert history["gradient_norm"] == [pytest.approx((4 + 0.8) / 2)]
    assert history["lr"] == [0.1]
    assert history["seconds"][0] > 0
    with pytest.raises(KeyError, match="History: 'validation_loss' was not recorded; there is loss, lr"):
        history["validation_loss"]


def test_norms_before_and_after_clipping():
    seen = []

    class Watch(Callback):
        def on_batch_end(self, run):
            seen.append((run.gradient_norm, run.clipped_norm))

    for clip in ({"clip_norm": 1.0}, {"clip_value": 1.0}):
        model = Line()
        batches = points((1.0, 2.0), (1.0, 0.1))  # gradients -4, clipped to -1, and 2 * (0.1 - 0.1) = 0
        history = fit(
            model, batches, line_loss, SGD(model.parameters(), 0.1), epochs=1, callbacks=[Watch()], **clip, **quiet
        )
        assert model.w.item() == pytest.approx(0.1, rel=1e-6)
        assert history["gradient_norm"] == [pytest.approx(2.0, rel=1e-6)]
        assert history["clipped_norm"] == [pytest.approx(0.5, rel=1e-6)]
        assert [pair for batch in seen for pair in batch] == pytest.approx([4.0, 1.0, 0.0, 0.0], abs=1e-6)
        seen.clear()
    model = Line()
    history = fit(model, points((1.0, 2.0)), line_loss, SGD(model.parameters(), 0.1), epochs=2, **quiet)
    assert history["clipped_norm"] == history["gradient_norm"]


def test_losses_are_weighted_by_size():
    x, y = np.ones(3), np.array([0.0, 0.0, 3.0])
    assert evaluate(Line(), Batches(x, y, batch_size=2), line_loss) == pytest.approx(3.0)
    time_major = Batches(np.ones((4, 3)), np.array([[0.0, 0.0, 3.0]] * 4), batch_size=2, axis=1)
    assert evaluate(Line(), time_major, line_loss) == pytest.approx(3.0)

    class Sized:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

    assert evaluate(Line(), [Sized(3), Sized(1)], lambda model, batch: Tensor(float(len(batch)))) == 2.5
    assert evaluate(Line(), [{1}, 2], lambda model, batch: Tensor(4.0)) == 4.0


def test_norms_are_weighted_by_batches():
    model = Line()
    batches = [(np.ones(1), np.full(1, 2.0)), (np.ones(3), np.array([2.0, 2.0, 5.0]))]  # gradients -4 and -6
    history = fit(model, batches, line_loss, SGD(model.parameters(), 0.0), epochs=1, clip_value=3.0, **quiet)
    assert history["gradient_norm"] == [5.0]
    assert history["clipped_norm"] == [3.0]
    assert history["loss"] == [pytest.approx((4.0 + 3 * 11.0) / 4)]


def test_it_learns_and_records_validation():
    x, y = data()
    model = Model()
    history = fit(
        model,
        Batches(x, y[0][None], batch_size=5, axis=1, shuffle=True, rng=0),
        lambda m, b: mse(m(b[0]), b[1][0]),
        Adam(model.parameters(), 0.02),
        epochs=12,
        validation=[(x, y[0][None])],
        **quiet,
    )
    assert history["validation_loss"][-1] < 0.3 * history["validation_loss"][0]
    assert len(history) == 12
    assert "12 epochs" in repr(history)
    assert repr(History()) == "History(0 epochs, last: empty)"


def test_modes():
    model, seen = Model(), []
    model.eval()
    model.out.training = True

    def loss(model, batch):
        seen.append((model.training, model.out.training, is_grad_enabled()))
        return mse(model.out(np.ones((1, 4))), np.zeros((1, 1)))

    fit(model, [0], loss, SGD(model.parameters()), epochs=2, validation=[0], **quiet)
    assert seen == [(True, True, True), (False, False, False)] * 2
    assert (model.training, model.lstm.training, model.out.training) == (False, False, True)
    with pytest.raises(ZeroDivisionError):
        fit(model, [0], lambda m, b: 1 / 0, SGD(model.parameters()), epochs=1, **quiet)
    assert (model.training, model.out.training) == (False, True)


class Net(nn.Module):
    def __init__(self):
        self.base = nn.Sequential(nn.Linear(2, 4, rng=0), nn.Dropout(0.9, rng=1))
        self.out = nn.Sequential(nn.Dropout(0.5, rng=2), nn.Linear(4, 1, rng=3))

    def forward(self, x):
        return self.out(self.base(x))


@pytest.mark.parametrize("whole", [True, False])
def test_a_part_that_was_set_to_evaluation_stays_in_it(whole, tmp_path):
    model, seen, x = Net(), [], np.ones((4, 2), "float32")
    model.base.eval()
    if whole:  # looked at before it is trained, and not set back
        model.eval()

    def loss(model, batch):
        seen.append(tuple(part.training for part in (model, model.base, model.base[1], model.out, model.out[0])))
        return mse(model(x), x[:, :1])

    options = {"validation": [0], "callbacks": [Checkpoint(tmp_path / "model")], **quiet}
    fit(model, [0], loss, SGD(model.parameters()), epochs=2, **options)
    assert seen == [(True, False, False, True, True), (False,) * 5] * 2
    assert (model.training, model.base.training, model.out.training) == (not whole, False, not whole)
    fit(model, [0], loss, SGD(model.parameters()), epochs=3, resume=tmp_path / "model", **options)
    assert seen[4:] == seen[:2]
    model.train()
    fit(model, [0], loss, SGD(model.parameters()), epochs=1, **quiet)
    assert seen[6:] == [(True,) * 5]


def test_a_callback_can_freeze_a_part():
    class Freeze(Callback):
        def on_epoch_end(self, run):
            run.model.base.eval()

    model, seen, x = Net(), [], np.ones((4, 2), "float32")

    def loss(model, batch):
        seen.append((model.training, model.base[1].training))
        return mse(model(x), x[:, :1])

    fit(model, [0], loss, SGD(model.parameters()), epochs=3, callbacks=[Freeze()], **quiet)
    assert seen == [(True, True), (True, False), (True, False)]


def test_training_and_evaluation_in_several_threads_keep_their_modes():
    model, x, seen = Net(), np.ones((4, 2), "float32"), []

    def loss(model, batch):
        with ThreadPoolExecutor(1) as pool:
            seen.append((model.training, pool.submit(lambda: model.base[1].training).result()))
        return mse(model(x), x[:, :1])

    expected = evaluate(model, [0], loss)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: evaluate(model, [0, 1], loss), range(8))) == [expected] * 8
    assert set(seen) == {(False, True)}
    assert model.training


def test_a_non_finite_loss_or_gradient_stops_before_the_step():
    model = Line(1.0)
    with pytest.raises(FloatingPointError, match="the loss is nan in epoch 1, batch 2; no parameter was changed"):
        fit(model, points((1.0, 1.0), (1.0, np.nan)), line_loss, SGD(model.parameters()), epochs=3, **quiet)
    assert model.w.item() == 1.0
    model = Line(0.0)

    def steep(model, batch):  # finite at 0, but with an infinite slope
        return ops.sum(ops.sqrt(model.w))

    message = "fit: in epoch 1, batch 1: clip_grad_norm: 1 of 1 gradients are not"
    with np.errstate(divide="ignore"), pytest.raises(FloatingPointError, match=message):
        fit(model, [0], steep, SGD(model.parameters()), epochs=1, **quiet)
    assert model.w.item() == 0.0


def test_errors():
    model = Line()
    optimizer = SGD(model.parameters())

    def call(batches=(0,), loss=line_loss, **options):
        return fit(model, batches, loss, optimizer, **{"epochs": 1, **quiet, **options})

    for run, error, message in [
        (lambda: call(epochs=1.5), ValueError, "fit: epochs is 1.5"),
        (lambda: call(clip_norm=1.0, clip_value=1.0), ValueError, "clip_norm and clip_value are both given"),
        (lambda: call(clip_norm=0.0), ValueError, "fit: clip_norm is 0.0; expected a number above 0"),
        (lambda: call(clip_value="1"), ValueError, "fit: clip_value is '1'; expected a number above 0"),
        (lambda: call(iter([0])), TypeError, "fit: batches is a list_iterator, which lasts one epoch"),
        (lambda: call(validation=(i for i in [])), TypeError, "fit: validation is a generator"),
        (lambda: call([]), ValueError, "fit: batches had none in epoch 1"),
        (lambda: call(points((1.0, 1.0)), validation=[]), ValueError, "evaluate: there are no batches"),
        (lambda: call(loss=lambda m, b: 1.0), TypeError, "returned a float; expected a scalar Tensor"),
        (lambda: call(loss=lambda m, b: Tensor([1.0, 2.0])), TypeError, r"returned a Tensor of shape \(2,\)"),
    ]:
        with pytest.raises(error, match=message):
            run()


def test_an_optimizer_of_another_model_is_refused():
    model, other = Line(), Line()
    with pytest.raises(ValueError, match="gradient to none of the optimizer's parameters"):
        fit(model, points((1.0, 2.0)), line_loss, SGD(other.parameters()), epochs=1, **quiet)
    assert model.w.item() == other.w.item() == 0.0
    optimizer, others = SGD(model.parameters()), Exponential(SGD(other.parameters()), 0.5)
    with pytest.raises(ValueError, match="fit: schedule is of another optimizer"):
        fit(model, points((1.0, 2.0)), line_loss, optimizer, epochs=1, schedule=others, **quiet)


def test_a_parameter_that_was_replaced_under_its_optimizer_is_told_of(caplog):
    model = nn.Linear(1, 1, rng=0)
    of_before, of_a_part = SGD(model.parameters()), SGD([model.bias])
    model.weight = Parameter(np.zeros((1, 1), "float32"))
    batches = [(np.ones((2, 1), "float32"), np.ones((2, 1), "float32"))]
    for optimizer in (of_before, of_a_part, SGD(model.parameters())):
        fit(model, batches, lambda m, b: mse(m(b[0]), b[1]), optimizer, epochs=2, **quiet)
    told = [record.message for record in caplog.records if "will not be learned" in record.message]
    assert [message.split(", since")[0] for message in told] == ["fit: weight will not be learned"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"callbacks": [1]}, r"callbacks\[0\] is a int; expected Callback"),
        ({"callbacks": [EarlyStopping(1), EarlyStopping]}, r"callbacks\[1\] is a type; expected Callback"),
        ({"callbacks": EarlyStopping(1)}, "callbacks is a EarlyStopping; expected a list"),
        ({"schedule": 0.9}, "schedule is a float; expected Schedule"),
        ({"optimizer": "adam"}, "optimizer is a str; expected Optimizer"),
        ({"loss": 3}, "loss is a int; expected a function"),
        ({"model": len}, "model is a builtin_function_or_method; expected Module"),
        ({"batches": 3}, "batches is a int; expected Batches or a list of batches"),
        ({"validation": 3}, "validation is a int; expected Batches or a list of batches"),
    ],
)
def test_things_of_other_kinds(wrong, message):
    model = Line()
    given = {"model": model, "batches": [np.ones((2, 1))], "loss": mse, "optimizer": SGD(model.parameters())} | wrong
    before = model.state_dict()
    with pytest.raises(TypeError, match=f"^fit: {message}"):
        fit(**given, epochs=1, progress=False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
