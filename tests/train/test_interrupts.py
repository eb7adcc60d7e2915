"""Ctrl-C at any instruction of a step, of clipping, of schedules and of loading: all of it is done, or nothing."""

import copy
import sys

import numpy as np
import pytest
from helpers import exported

from xprnn import Parameter, Tensor, grad, nn, ops, train
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    Cosine,
    ReduceOnPlateau,
    clip_grad_norm,
    clip_grad_value,
    fit,
    load_checkpoint,
    mse,
    save_checkpoint,
)


class Interrupting:
    """Raises KeyboardInterrupt at that instruction of package code (line, with ``lines``), and counts them."""

    def __init__(self, at, lines=False):
        self.at, self.lines, self.count = at, lines, 0

    def __call__(self, frame, event, arg):
        if "xprnn" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = not self.lines
        return self.inside

    def inside(self, frame, event, arg):
        if event == ("line" if self.lines else "opcode"):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self.inside


@pytest.fixture(autouse=True, scope="module")
def _begun():
    """Python 3.12.1 tells of instructions from the second traced call of a process only."""
    lines_of(lambda: nn.Linear(1, 1, rng=0).parameters())
    interrupted(lambda: nn.Linear(1, 1, rng=0).parameters(), -1)


def by_itself(call):
    """Call it in a generator, which has exceptions of its own.

    Where a tracer raises in a handler, Python 3.11 goes on as if what was handled there still were.
    """
    return next(call() for _ in range(1))


def interrupted(call, at, lines=False):
    """Whether the call was interrupted at that place; None where it has no such place."""
    tracer, before = Interrupting(at, lines=lines), sys.gettrace()
    sys.settrace(tracer)
    try:
        by_itself(call)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return None


def lines_of(call):
    """How many places there are to be interrupted at."""
    tracer, before = Interrupting(-1, lines=True), sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    finally:
        sys.settrace(before)
    return tracer.count


def plain(value):
    """Anything as what can be compared: arrays as nested lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return np.asarray(value.data if isinstance(value, Tensor) else value).tolist() if hasattr(value, "shape") else value


def assert_whole(make, act, look, lines=False):
    """Interrupted anywhere, ``act`` leaves what ``look`` sees as it was before or as it is after."""
    subject = make()
    before = plain(look(subject))
    act(subject)
    after, seen, at = plain(look(subject)), set(), 1
    assert before != after
    while True:
        subject = make()
        if interrupted(lambda subject=subject: act(subject), at, lines) is None:
            break
        found = plain(look(subject))
        assert found in (before, after), f"half of it was done when interrupted at {at}"
        seen.add(found == after)
        at += 1
    assert at > 5
    assert False in seen


def ready(kind, **settings):
    """An optimizer that has made two steps and has gradients for a third."""
    params = [Parameter(np.arange(1.0, 3.0)), Parameter(np.array([3.0])), Parameter(np.ones((2, 2)))]
    optimizer = kind([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], lr=0.1, **settings)
    for _ in range(3):
        for k, p in enumerate(params):
            p.grad = Tensor(p.data + k)
        if optimizer.counts[0] < 2:
            optimizer.step()
    return optimizer


def everything(optimizer):
    return optimizer.state_dict(), [[p.data, p.version > 2] for p in optimizer.parameters]


def test_a_step_of_sgd_at_every_instruction():
    assert_whole(lambda: ready(SGD, momentum=0.9), lambda optimizer: optimizer.step(), everything)


@pytest.mark.parametrize("kind", exported(train, train.Optimizer))
def test_a_step_at_every_line(kind):
    assert_whole(lambda: ready(kind), lambda optimizer: optimizer.step(), everything, lines=True)


def test_a_step_on_a_device_at_every_line():
    def step(optimizer):
        optimizer.step(where=np.array(True))

    assert_whole(lambda: ready(Adam, amsgrad=True), step, everything, lines=True)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipping_at_every_instruction(clip):
    gradients = lambda optimizer: [p.grad for p in optimizer.parameters]
    assert_whole(lambda: ready(SGD), lambda optimizer: clip(optimizer.parameters, 0.5), gradients)
    assert_whole(lambda: ready(SGD), lambda optimizer: optimizer.zero_grad(), gradients)


@pytest.mark.parametrize("make", [lambda o: Cosine(o, 9, 2), lambda o: ReduceOnPlateau(o, patience=0)])
def test_a_schedule_at_every_instruction(make):
    def begun():
        schedule = make(ready(SGD))
        schedule.step(1.0)
        return schedule

    look = lambda schedule: (schedule.state_dict(), [group["lr"] for group in schedule.optimizer.param_groups])
    assert_whole(begun, lambda schedule: schedule.step(2.0), look)
    rates = lambda optimizer: [group["lr"] for group in optimizer.param_groups]
    assert_whole(
        lambda: ready(SGD), make if make(ready(SGD)).state[-1] == "base_lr" else lambda o: setattr(o, "lr", 2), rates
    )


def test_loading_an_optimizer_at_every_line():
    other = ready(Adam)
    other.lr = 3.0
    other.step()
    state = other.state_dict()
    assert_whole(lambda: ready(Adam), lambda optimizer: optimizer.load_state_dict(state), everything, lines=True)


def test_loading_a_checkpoint_at_every_line(tmp_path):
    path = tmp_path / "c"

    def parts(seed):
        model = nn.Linear(1, 1, bias=False, rng=seed)
        optimizer = SGD(model.parameters(), lr=0.1 + seed, momentum=0.9)
        model.weight.grad = Tensor(model.weight.data)
        optimizer.step()
        return {"model": model, "optimizer": optimizer, "schedule": Cosine(optimizer, 9 + seed)}

    save_checkpoint(path, **parts(1))
    states = lambda parts: {name: part.state_dict() for name, part in parts.items()}
    assert_whole(lambda: parts(0), lambda parts: load_checkpoint(path, **parts), states, lines=True)


class Interrupted:
    """A part whose loading is interrupted, and from there on whatever a tracer interrupts."""

    def __init__(self, tracer):
        self.tracer = tracer

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        if self.tracer.count == 0:
            sys.settrace(self.tracer)
            frame = sys._getframe(1)
            while "xprnn" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
                frame.f_trace, frame = self.tracer.inside, frame.f_back
            raise KeyboardInterrupt


def test_a_second_interrupt_while_a_checkpoint_is_taken_back(tmp_path):
    def parts(seed, at):
        model, tracer = nn.Linear(1, 1, rng=seed), Interrupting(at, lines=True)
        schedule = Cosine(SGD(model.parameters(), lr=0.1 + seed), 9)
        return {"model": model, "schedule": schedule, "stop": Interrupted(tracer)}, tracer

    states = lambda parts: plain({name: part.state_dict() for name, part in parts.items()})
    path, at = tmp_path / "c", 1
    save_checkpoint(path, **parts(1, 0)[0])
    before = states(parts(0, 0)[0])
    while True:
        subject, tracer = parts(0, at)
        try:
            with pytest.raises(KeyboardInterrupt):
                by_itself(lambda parts=subject: load_checkpoint(path, **parts))
        finally:
            sys.settrace(None)
        assert states(subject) == before, f"half of it was taken back when interrupted at {at}"
        if tracer.count < at:
            break
        at += 1
    assert at > 20


@pytest.mark.parametrize("mode", [False, True])
def test_modes_at_every_line(mode):
    def model():
        return nn.Sequential(nn.Dropout(rng=0), nn.Dropout(rng=0)).train(not mode)

    modes = lambda model: [[part._training, part._by_itself] for _, part in model.named_modules()]
    assert_whole(model, lambda model: model.train(mode), modes, lines=True)


@pytest.mark.parametrize("way", ["loaded", "moved"])
def test_new_weights_at_every_line(way):
    def model(seed=0):
        layer = nn.Linear(1, 1, rng=seed)
        layer.weight.grad = Tensor(layer.weight.data)
        return layer

    state = model(1).state_dict()
    act = {"loaded": lambda layer: layer.load_state_dict(state), "moved": lambda layer: layer.to("array_api_strict")}
    arrays = lambda layer: [layer.weight.data, layer.weight.grad.data, layer.bias.data]
    look = lambda layer: (
        [p.version for p in layer.parameters()],
        [type(a).__name__ for a in arrays(layer)],
        arrays(layer),
    )
    assert_whole(model, act[way], look, lines=True)


def test_an_update_of_another_shape_changes_nothing():
    class Wrong(SGD):
        def update(self, data, gradient, slots, step):
            new, slots = super().update(data, gradient, slots, step)
            return (new.astype("float32") if data.ndim == 2 else new), slots

    optimizer = ready(SGD)
    optimizer.__class__ = Wrong
    before = plain(copy.deepcopy(everything(optimizer)))
    with pytest.raises(ValueError, match=r"Wrong: update gave parameter 2 shape \(2, 2\) and dtype float32; expected"):
        optimizer.step()
    after = plain(everything(optimizer))
    assert after[0]["parameters"] == before[0]["parameters"]
    assert after[1] == before[1]


def test_backward_at_every_line_leaves_recording_on():
    w = Parameter(np.ones(2))
    walks = [lambda: ops.sum(w * w).backward(), lambda: grad(ops.sum(w * w), w)]
    for walk in walks:
        for at in range(1, lines_of(walk)):
            interrupted(walk, at, lines=True)
            assert (w * w).requires_grad, f"recording is off after an interrupt at line {at}"


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.1}])
def test_a_run_stops_between_two_steps_and_goes_on_from_its_file(tmp_path, clip):
    x = np.random.default_rng(0).normal(size=(8, 2))
    look = lambda optimizer: plain((optimizer.state_dict(), [p.data for p in optimizer.parameters]))

    class Keep(Callback):
        def __init__(self):
            self.states = []

        def on_batch_end(self, run):
            self.states.append(look(run.optimizer))

    def begun():
        model = nn.Linear(2, 1, dtype="float64", rng=0)
        return model, Adam(model.parameters(), lr=0.1)

    def train(model, optimizer, *callbacks, resume=None):
        fit(
            model,
            Batches(x, batch_size=4, shuffle=True, rng=0),
            lambda m, b: mse(m(b[0]), b[0][:, :1]),
            optimizer,
            epochs=3,
            callbacks=[*callbacks, Checkpoint(tmp_path / "c")],
            resume=resume,
            progress=False,
            accumulate=2,
            **clip,
        )

    keep, (model, optimizer) = Keep(), begun()
    states = [look(optimizer)]
    train(model, optimizer, keep)
    states += keep.states
    count = lines_of(lambda: train(*begun()))
    for at in np.linspace(1, count - 1, 40).astype(int).tolist():
        (tmp_path / "c").unlink(missing_ok=True)
        model, optimizer = begun()
        interrupted(lambda m=model, o=optimizer: train(m, o), at, lines=True)
        assert look(optimizer) in states
        if (tmp_path / "c").exists():
            again = begun()
            train(*again, resume=tmp_path / "c")
            assert look(again[1]) == states[-1]
