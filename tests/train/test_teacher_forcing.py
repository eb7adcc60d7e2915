"""Schedules of teacher forcing in closed form, and the callback that follows them."""

import math

import numpy as np
import pytest

from xprnn import nn
from xprnn.train import (
    Adam,
    Callback,
    Checkpoint,
    ConstantRatio,
    ExponentialRatio,
    InverseSigmoidRatio,
    LinearRatio,
    TeacherForcing,
    cross_entropy,
    fit,
)


def model(seed=0):
    encoder = nn.Encoder(6, 5, embedding_dim=4, cell="GRU", rng=seed)
    decoder = nn.Decoder(6, 5, embedding_dim=4, cell="GRU", rng=seed)
    return nn.Seq2Seq(encoder, decoder, start=0, end=1, rng=seed)


def loss(model, batch):
    return cross_entropy(model(batch, batch), batch)


BATCHES = [np.random.default_rng(k).integers(2, 6, (4, 3)) for k in range(3)]


def run(network, callbacks, epochs, **options):
    return fit(network, BATCHES, loss, Adam(network.parameters(), 1e-2), epochs=epochs, callbacks=callbacks,
               progress=False, **options)  # fmt: skip


class Watch(Callback):
    def __init__(self):
        self.ratios = []

    def on_batch_end(self, run):
        self.ratios.append(run.model.ratio)


def test_closed_forms():
    assert [ConstantRatio(0.3)(i) for i in (0, 9)] == [0.3, 0.3]
    assert [LinearRatio(4)(i) for i in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [LinearRatio(2, 0.9, 0.1)(i) for i in (0, 1, 2, 7)] == pytest.approx([0.9, 0.5, 0.1, 0.1])
    assert [ExponentialRatio(0.5)(i) for i in range(4)] == [1.0, 0.5, 0.25, 0.125]
    for k in (1.0, 7.0, 100.0):
        for i in (0, 1, 50, 600):
            assert InverseSigmoidRatio(k)(i) == pytest.approx(k / (k + math.exp(i / k)), abs=1e-15)
    assert InverseSigmoidRatio(50.0)(50 * math.log(50.0)) == pytest.approx(0.5)
    assert InverseSigmoidRatio(1.0)(10**6) == 0.0


def test_the_callback_follows_the_schedule():
    network, watch = model(), Watch()
    forcing = TeacherForcing(LinearRatio(5))
    run(network, [watch, forcing], 2)
    assert watch.ratios == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    watch.ratios.clear()
    run(network, [watch, forcing], 1)  # a new training begins anew
    assert watch.ratios == pytest.approx([1.0, 0.8, 0.6])


def test_a_resumed_run_goes_on_to_the_same_bits(tmp_path):
    def callbacks():
        return [TeacherForcing(InverseSigmoidRatio(2.0)), Checkpoint(tmp_path / "run.safetensors", every=2)]

    whole = model()
    run(whole, [TeacherForcing(InverseSigmoidRatio(2.0))], 4)
    run(model(), callbacks(), 2)
    resumed = model(seed=7)
    run(resumed, callbacks(), 4, resume=tmp_path / "run.safetensors")
    assert resumed.ratio == whole.ratio
    for name, array in resumed.state_dict().items():
        np.testing.assert_array_equal(array, whole.state_dict()[name], err_msg=name)


BAD = {
    "constant": (lambda: ConstantRatio(1.5), ValueError, "ConstantRatio: ratio is 1.5; expected a probability"),
    "linear": (lambda: LinearRatio(0), ValueError, "LinearRatio: steps is 0; expected an integer of at least 1"),
    "last": (lambda: LinearRatio(3, 1.0, -0.1), ValueError, "LinearRatio: last is -0.1"),
    "exponential": (lambda: ExponentialRatio(1.1), ValueError, "ExponentialRatio: k is 1.1"),
    "sigmoid": (lambda: InverseSigmoidRatio(0.5), ValueError, "k is 0.5; expected a number of at least 1"),
    "schedule": (lambda: TeacherForcing(0.5), TypeError, "TeacherForcing: schedule is a float; expected a function"),
    "range": (
        lambda: run(model(), [TeacherForcing(lambda i: 1.5)], 1),
        ValueError,
        r"TeacherForcing: schedule\(0\) is 1.5; expected a probability",
    ),
    "model": (
        lambda: fit(nn.Linear(1, 1), BATCHES, loss, Adam(nn.Linear(1, 1).parameters()), epochs=1, progress=False,
                    callbacks=[TeacherForcing(ConstantRatio())]),
        TypeError,
        "TeacherForcing: Linear has no ratio to set; expected a Seq2Seq",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
