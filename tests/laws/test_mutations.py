"""Each law catches at least one deliberate bug: a law that cannot fail proves nothing."""

import copy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from xprnn import cells, nn, ops
from xprnn.engine import dispatch, reference
from xprnn.engine.dispatch import Impl
from xprnn.tensor import Tensor
from xprnn.testing import LAWS, Example


class Mutant(nn.Module):
    """A correct layer with one thing broken on the way in or out."""

    def __init__(self, inner=None):
        self.inner = inner or nn.LSTM(3, 4, dtype="float64", rng=1)

    def forward(self, x, state=None, **control):
        return self.inner(x, state, **control)


class ForgottenTerm(cells.LSTM):
    """The way back leaves the path through c out."""

    def backward(self, w, dstate, saved, state, new_state):
        dzx, dzh, rest = super().backward(w, dstate, saved, state, new_state)
        return dzx, dzh, tuple(0.0 * part for part in rest)


class AddedConstant(cells.Elman):
    """A gradient that is there whatever the cotangent says."""

    def backward(self, w, dstate, saved, state, new_state):
        dzx, dzh, rest = super().backward(w, dstate, saved, state, new_state)
        return dzx + 1e-6, dzh, rest


class HiddenNaN(cells.Elman):
    """A relu that turns NaN into 0."""

    backward = cells.Elman.backward

    def forward(self, w, zx, zh, state):
        return (np.fmax(zx + zh, 0.0),), ()


def of_cell(cell):
    return nn.RecurrentLayer(cell, 3, 4, dtype="float64", rng=1)


class NeedsAStep(Mutant):
    def forward(self, x, state=None, **control):
        output, *rest = self.inner(x, state, **control)
        return output + 0.0 * ops.sum(output[0]), *rest


class DropsTheState(Mutant):
    def forward(self, x, state=None, **control):
        return self.inner(x, None, **control)


class IgnoresLengths(Mutant):
    def forward(self, x, state=None, lengths=None, **control):
        return self.inner(x, state, **control)


class LooksAtPadding(Mutant):
    def forward(self, x, state=None, **control):
        output, *rest = self.inner(x, state, **control)
        return output + 0.0 * ops.sum(ops.as_tensor(x)), *rest


class MixesTheBatch(Mutant):
    def forward(self, x, state=None, **control):
        x = ops.as_tensor(x)
        return self.inner(x + 0.1 * ops.mean(x, axis=1, keepdims=True), state, **control)


class KnowsPlaces(Mutant):
    def forward(self, x, state=None, **control):
        x = ops.as_tensor(x)
        return self.inner(x + 0.1 * np.arange(x.shape[1])[:, None], state, **control)


class ReversesWholePadding(Mutant):
    """The reverse direction starts at T instead of at each length."""

    def __init__(self):
        super().__init__(nn.RNN(3, 4, dtype="float64", rng=1))
        self.reverse = True

    def forward(self, x, state=None, **control):
        if not self.reverse:
            return self.inner(x, state, **control)
        output, *rest = self.inner(ops.flip(ops.as_tensor(x), axis=0), state, **control)
        return ops.flip(output, axis=0), *rest


class IgnoresReset(Mutant):
    def forward(self, x, state=None, reset=None, **control):
        return self.inner(x, state, **control)


class IgnoresMask(Mutant):
    def forward(self, x, state=None, mask=None, **control):
        return self.inner(x, state, **control)


class WritesToItsArgument(Mutant):
    def forward(self, x, state=None, **control):
        data = ops.value(x)
        if data.flags.writeable and data.size:
            data[0] *= 0.5
        return self.inner(x, state, **control)


class RollsDice(Mutant):
    dice = np.random.default_rng(0)

    def forward(self, x, state=None, **control):
        output, *rest = self.inner(x, state, **control)
        return output + 1e-12 * self.dice.standard_normal(), *rest


class LosesTheFirstStep(Mutant):
    """A loop back that ends one step early."""

    def forward(self, x, state=None, **control):
        x = ops.as_tensor(x)
        return self.inner(ops.concat([x[:1].detach(), x[1:]]), state, **control)


MUTANTS = {
    "gradients_pass_finite_differences": lambda: of_cell(ForgottenTerm()),
    "explicit_gradients_equal_composed_ones": lambda: of_cell(ForgottenTerm()),
    "zero_cotangent_gives_zero_gradients": lambda: of_cell(AddedConstant()),
    "shortest_inputs_work": NeedsAStep,
    "first_step_gets_a_gradient": LosesTheFirstStep,
    "runs_can_be_split": DropsTheState,
    "padding_is_never_seen": LooksAtPadding,
    "sequences_do_not_see_each_other": MixesTheBatch,
    "batch_order_is_irrelevant": KnowsPlaces,
    "walking_back_is_reversing_twice": ReversesWholePadding,
    "resets_begin_new_sequences": IgnoresReset,
    "held_steps_do_not_count": IgnoresMask,
    "memory_layout_is_irrelevant": WritesToItsArgument,
    "nan_is_not_hidden": lambda: of_cell(HiddenNaN("relu")),
    "same_input_gives_same_bits": RollsDice,
}


def examples(layer):
    return [Example.draw(layer, 3, steps=6, batch=4, ragged=ragged, rng=0) for ragged in (False, True)]


def broken(law, layer):
    """Whether a law fails for a layer on any of the examples."""
    for example in examples(layer):
        try:
            LAWS[law](layer, copy.deepcopy(example))
        except (AssertionError, IndexError, ValueError):
            return True
    return False


def test_every_law_has_a_mutant():
    assert set(MUTANTS) | {"implementations_equal_the_reference"} == set(LAWS)


@pytest.mark.parametrize("law", MUTANTS)
def test_law_catches_its_mutant(law):
    assert broken(law, MUTANTS[law]())


@pytest.mark.parametrize("law", MUTANTS)
def test_law_passes_the_correct_layer(law):
    correct = Mutant(nn.RNN(3, 4, dtype="float64", rng=1))
    if law == "walking_back_is_reversing_twice":
        correct = nn.RNN(3, 4, bidirectional=True, dtype="float64", rng=1)
    assert not broken(law, correct)


def test_ignored_lengths_are_caught():
    assert broken("shortest_inputs_work", IgnoresLengths())
    assert broken("padding_is_never_seen", IgnoresLengths())


@pytest.mark.parametrize("part", ["outputs", "gradients"])
def test_a_wrong_implementation_is_caught(part, monkeypatch):
    def forward(call):
        result, trace = reference.forward(call)
        if part == "outputs":
            result = result._replace(sequences=tuple(1.001 * s for s in result.sequences))
        return result, trace

    def backward(call, trace, dsequences, dfinal, need_dx):
        gradients = reference.backward(call, trace, dsequences, dfinal, need_dx)
        wrong = {name: 1.001 * g if part == "gradients" else g for name, g in gradients.weights.items()}
        return gradients._replace(weights=wrong)

    wrong = Impl("wrong", lambda call: [], forward, backward)
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    monkeypatch.setattr("xprnn.testing.laws.IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    assert broken("implementations_equal_the_reference", nn.GRU(3, 4, dtype="float64", rng=1))


@pytest.mark.parametrize("forgotten", ["advance", "restart", "dc"])
def test_a_way_back_that_forgets_something_is_caught(forgotten, monkeypatch):
    """A kernel whose backward pass does not know of held steps, of resets, or of cotangents of c."""

    def backward(call, trace, dsequences, dfinal, need_dx):
        if forgotten == "dc":
            dsequences = (dsequences[0], None)
        else:
            call = replace(call, control=replace(call.control, **{forgotten: None}))
        return reference.backward(call, trace, dsequences, dfinal, need_dx)

    wrong = Impl("wrong", lambda call: [], reference.forward, backward)
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    monkeypatch.setattr("xprnn.testing.laws.IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    assert broken("implementations_equal_the_reference", nn.LSTM(3, 4, dtype="float64", rng=1))


def test_a_failing_implementation_does_not_pass_for_one_that_declines(monkeypatch):
    def failing(call):
        raise RuntimeError("illegal address")

    wrong = Impl("wrong", lambda call: [], failing, reference.backward)
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    monkeypatch.setattr("xprnn.testing.laws.IMPLEMENTATIONS", [wrong, dispatch.REFERENCE])
    layer = nn.LSTM(3, 4, dtype="float64", rng=1)
    with pytest.raises(RuntimeError, match="illegal address"):
        LAWS["implementations_equal_the_reference"](layer, Example.draw(nn.LSTM(3, 4, dtype="float64"), 3))


def test_an_implementation_that_declines_is_passed_over(monkeypatch):
    picky = Impl("picky", lambda call: ["it never does"], reference.forward, reference.backward)
    monkeypatch.setattr(dispatch, "IMPLEMENTATIONS", [picky, dispatch.REFERENCE])
    monkeypatch.setattr("xprnn.testing.laws.IMPLEMENTATIONS", [picky, dispatch.REFERENCE])
    assert not broken("implementations_equal_the_reference", nn.GRU(3, 4, dtype="float64", rng=1))


def test_mutants_differ_from_a_tensor_bug():
    """The harness itself returns Tensors, so a mutant is wrong in its numbers and not in its types."""
    output, final = NeedsAStep()(np.zeros((2, 1, 3)))
    assert isinstance(output, Tensor)
    assert len(final) == 2


DEAF = """
from xprnn import nn
from xprnn.testing import check_laws
class Deaf(nn.Module):
    state_sizes = (3,)
    input_size, dtype = 3, "float64"
    def __init__(self):
        self.inner = nn.Linear(3, 3, dtype="float64", rng=0)
    def step(self, x, state):
        return (0.5 * state[0] + 0.0 * self.inner(x),)
check_laws(nn.Recurrent(Deaf()), 3)
"""


def test_laws_hold_in_a_python_without_assertions():
    done = subprocess.run([sys.executable, "-O", "-c", DEAF], capture_output=True, text=True, check=False)
    assert "AssertionError" in done.stderr
    assert "the gradient of x[0] is zero" in done.stderr
