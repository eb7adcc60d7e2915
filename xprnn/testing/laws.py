"""The laws of recurrence: what holds for every layer, whatever its cell, implementation, backend and dtype.

A law is a function of a time-major layer and an :class:`Example`, and raises AssertionError where it is broken. A layer
is anything called as RecurrentLayer and Recurrent are:

    layer(x, state, lengths=, mask=, reset=, return_all_states=True) -> output, state, states
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xprnn.engine.dispatch import IMPLEMENTATIONS, REFERENCE, DeclinedError, use_kernels
from xprnn.testing.example import Example, batch_part, dtype_of, home_of
from xprnn.testing.gradients import check_gradients
from xprnn.testing.layouts import LAYOUTS
from xprnn.testing.running import called, compare, flip, gradients_of, named, outputs_of, require

Law = Callable[[Any, "Example"], None]

LAWS: dict[str, Law] = {}
"""Every law by name."""

_applies: dict[str, Callable[[Any], bool]] = {}


def check_laws(layer: Any, input_size: int, *, rng: int = 0) -> list[str]:
    """Check every law that applies to a layer, on a few examples. Returns the names of the laws checked.

    >>> check_laws(nn.Recurrent(MyCell()), input_size=3)  # doctest: +SKIP
    """
    names = [name for name in LAWS if applies(name, layer)]
    for ragged, steps, batch in ((False, 5, 3), (True, 6, 4), (False, 1, 1)):
        example = Example.draw(layer, input_size, steps=steps, batch=batch, ragged=ragged, rng=rng)
        for name in names:
            LAWS[name](layer, example)
    return names


def applies(name: str, layer: Any) -> bool:
    """Whether a law is about this kind of layer: some are not about those that walk backward, for example."""
    return _applies[name](layer)


def law(about: Callable[[Any], bool] = lambda layer: True) -> Callable[[Law], Law]:
    """Register a law, with the layers it is about."""

    def register(function: Law) -> Law:
        LAWS[function.__name__] = function
        _applies[function.__name__] = about
        return function

    return register


def _one_way(layer: Any) -> bool:
    return not getattr(layer, "bidirectional", False) and not getattr(layer, "reverse", False)


def _has_reverse(layer: Any) -> bool:
    return layer.num_layers == 1 if getattr(layer, "bidirectional", False) else hasattr(layer, "reverse")


# --- the laws -------------------------------------------------------------------------------------------------------


@law(lambda layer: dtype_of(layer) == "float64")
def gradients_pass_finite_differences(layer: Any, example: Example) -> None:
    """Along random directions over all inputs, states and weights at once, to 1e-6.

    At a kink, as |w| has at 0, a difference errs by as much as its step: what fails is tried with a smaller one.
    """
    home = home_of(layer)
    arrays = [home.asarray(a) for a in (example.x, *example.state)]
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    check = partial(check_gradients, lambda x, *s: called(layer, x, s, example), arrays, trained, directions=1)
    try:
        check()
    except AssertionError:
        check(eps=1e-7)


@law()
def explicit_gradients_equal_composed_ones(layer: Any, example: Example) -> None:
    """The way back that a cell writes out equals what the tape finds from the forward code alone."""
    explicit = gradients_of(layer, example)
    compare(layer, explicit, gradients_of(layer, example, create_graph=True), "composed of primitives")


@law()
def implementations_equal_the_reference(layer: Any, example: Example) -> None:
    """Outputs and all gradients, for each implementation that takes the call."""
    with use_kernels("reference"):
        outputs, gradients = outputs_of(layer, example), gradients_of(layer, example)
    for impl in IMPLEMENTATIONS:
        if impl is REFERENCE:
            continue
        with use_kernels(impl.name):
            try:
                found = outputs_of(layer, example)
            except DeclinedError:  # it has a reason against some part of the call
                continue
            compare(layer, found, outputs, f"the reference, from {impl.name}")
            compare(layer, gradients_of(layer, example), gradients, f"the reference, from {impl.name}")


@law()
def zero_cotangent_gives_zero_gradients(layer: Any, example: Example) -> None:
    """Gradients are linear in the cotangent, so nothing comes of nothing."""
    for name, gradient in gradients_of(layer, example, scale=0.0).items():
        require(not gradient.any(), f"the gradient of {name} is not zero although the cotangent is")


@law()
def shortest_inputs_work(layer: Any, example: Example) -> None:
    """No step at all returns the initial state; so does length 0; one step of one sequence is fine."""
    nothing = Example(example.x[:0], example.state)
    outputs = outputs_of(layer, nothing)
    shape = outputs["output"].shape
    require(shape[:2] == (0, example.x.shape[1]), f"T=0 gives output shape {shape}")
    compare(layer, named(example.state), outputs, "T=0")
    gradients_of(layer, nothing)
    gradients_of(layer, nothing, create_graph=True)
    none = replace(example.plain, lengths=np.zeros(example.x.shape[1], dtype=np.int64))
    outputs = outputs_of(layer, none)
    require(not outputs["output"].any(), "length 0 gives outputs that are not zero")
    compare(layer, named(example.state), outputs, "length 0")
    gradients = gradients_of(layer, none)
    require(not gradients["x"].any(), "length 0 gives a gradient in x")
    gradients_of(layer, Example(example.x[:1], example.state).sequences(slice(0, 1)))


@law()
def first_step_gets_a_gradient(layer: Any, example: Example) -> None:
    """dx[0] is not zero: the loop back ends at the first step and not before it.

    Where no unit is on, as happens with relu, nothing is handed back: numbers near these give the same outputs, and
    only others further off do not.
    """
    dx, outputs = gradients_of(layer, example.plain)["x"], outputs_of(layer, example.plain)
    draws, near = np.random.default_rng(0), 1e-6 if dtype_of(layer) == "float64" else 1e-3

    def changes(step: int, size: float) -> bool:
        moved = example.x.copy()
        moved[step] += size * draws.standard_normal(moved[step].shape)
        others = outputs_of(layer, replace(example.plain, x=moved))
        return not all(np.array_equal(outputs[part], others[part]) for part in outputs)

    for step, name in ((0, "x[0]"), (-1, "the last x")):
        off = not dx[step].any() and not changes(step, near) and any(changes(step, 10.0) for _ in range(20))
        require(dx[step].any() or off, f"the gradient of {name} is zero")


@law(_one_way)
def runs_can_be_split(layer: Any, example: Example) -> None:
    """T steps equal k steps and then T - k with the carried state."""
    whole = outputs_of(layer, example.plain)
    for k in {0, 1, example.x.shape[0] // 2}:
        first = outputs_of(layer, Example(example.x[:k], example.state))
        carried = tuple(first[f"state {n}"] for n in range(len(example.state)))
        second = outputs_of(layer, Example(example.x[k:], carried))
        joined = second | {"output": np.concatenate([first["output"], second["output"]])}
        compare(layer, joined, whole, f"one run, from two split at {k}")


@law()
def padding_is_never_seen(layer: Any, example: Example) -> None:
    """What lies past a sequence's end, NaN too, changes no output and no gradient, and outputs there are zero."""
    lengths = np.arange(example.x.shape[1]) % (example.x.shape[0] + 1)
    clean = replace(example.plain, lengths=lengths)
    past = np.arange(example.x.shape[0])[:, None] >= lengths
    dirty = replace(clean, x=np.where(past[..., None], np.nan, example.x))
    outputs = outputs_of(layer, dirty)
    compare(layer, outputs, outputs_of(layer, clean), "clean padding, from NaN padding")
    require(not outputs["output"][past].any(), "outputs past a sequence's end are not zero")
    compare(layer, gradients_of(layer, dirty), gradients_of(layer, clean), "clean padding, from NaN padding")


@law()
def sequences_do_not_see_each_other(layer: Any, example: Example) -> None:
    """Each sequence of a padded batch gives what it gives alone, without padding."""
    whole = outputs_of(layer, example)
    steps, batch = example.x.shape[:2]
    for b in range(batch):
        length = steps if example.lengths is None else int(example.lengths[b])
        one = example.sequences(slice(b, b + 1))
        flags = [None if f is None else f[:length] for f in (one.mask, one.reset)]
        alone = Example(one.x[:length], one.state, None, *flags)
        part = {name: batch_part(a, slice(b, b + 1)) for name, a in whole.items()}
        part["output"] = part["output"][:length]
        compare(layer, part, outputs_of(layer, alone), f"sequence {b} alone, from the batch")


@law()
def batch_order_is_irrelevant(layer: Any, example: Example) -> None:
    """Sequences in another order give the same results in that order."""
    order = np.roll(np.arange(example.x.shape[1]), 1)
    shuffled = outputs_of(layer, example.sequences(order))
    expected = {name: batch_part(a, order) for name, a in outputs_of(layer, example).items()}
    compare(layer, shuffled, expected, "the other order")


@law(_has_reverse)
def walking_back_is_reversing_twice(layer: Any, example: Example) -> None:
    """The reverse direction equals: reverse each sequence within its length, walk forward, reverse again."""
    example = replace(example, mask=None, reset=None)
    flipped = replace(example, x=flip(example.x, example.lengths))
    if not getattr(layer, "bidirectional", False):
        other = copy.copy(layer)
        other.reverse = not layer.reverse
        forward, backward = outputs_of(other, flipped)["output"], outputs_of(layer, example)["output"]
    else:
        other = copy.deepcopy(layer)
        if getattr(layer, "reverse_cell", None) is not None:
            other.cell = layer.reverse_cell
        for name, parameter in other.named_parameters():
            if name.endswith("_reverse"):
                parameter.data = getattr(other, name.removesuffix("_reverse")).data
        swapped = replace(flipped, state=tuple(s[::-1] for s in example.state))
        width = outputs_of(other, example)["output"].shape[-1] // 2
        forward = outputs_of(other, swapped)["output"][..., :width]
        backward = outputs_of(other, example)["output"][..., width:]
    compare(layer, {"output": flip(forward, example.lengths)}, {"output": backward}, "the reverse walk")


@law()
def resets_begin_new_sequences(layer: Any, example: Example) -> None:
    """A run with a reset gives what its two pieces give one after the other, the second from zero state."""
    steps, batch = example.x.shape[:2]
    cut = steps // 2
    reset = np.zeros((steps, batch), dtype=bool)
    reset[cut] = True
    zero = tuple(0.0 * s for s in example.state)
    # A walk back meets the given state in the second piece, a walk forward in the first: where both are walked, zero.
    state = example.state if _one_way(layer) and cut > 0 else zero
    whole = outputs_of(layer, Example(example.x, state if cut > 0 else example.state, reset=reset))["output"]
    pieces = [outputs_of(layer, Example(example.x[:cut], state)), outputs_of(layer, Example(example.x[cut:], zero))]
    if cut > 0 or _one_way(layer):
        joined = np.concatenate([piece["output"] for piece in pieces])
        compare(layer, {"output": whole}, {"output": joined}, "the two pieces")


@law()
def held_steps_do_not_count(layer: Any, example: Example) -> None:
    """A batch with masked steps ends where the batch without those steps ends."""
    keep = np.random.default_rng(2).random(example.x.shape[0]) < 0.6
    mask = np.repeat(keep[:, None], example.x.shape[1], axis=1)
    x = np.where(keep[:, None, None], example.x, np.nan)
    held = outputs_of(layer, Example(x, example.state, mask=mask))
    dense = outputs_of(layer, Example(example.x[keep], example.state))
    held["output"] = held["output"][keep]
    compare(layer, held, dense, "the run without the masked steps")


@law()
def memory_layout_is_irrelevant(layer: Any, example: Example) -> None:
    """Transposed, strided and read-only arrays give the same, and are not written to."""
    expected = outputs_of(layer, example)
    for layout in LAYOUTS:
        odd = replace(example, x=layout(example.x), state=tuple(layout(s) for s in example.state))
        before = [odd.x.copy(), *(s.copy() for s in odd.state)]
        compare(layer, outputs_of(layer, odd), expected, f"the usual layout, from {layout.__name__} arrays")
        gradients_of(layer, odd)
        for now, then in zip((odd.x, *odd.state), before, strict=True):
            require(np.array_equal(now, then), "the layer wrote to its argument")


@law()
def nan_is_not_hidden(layer: Any, example: Example) -> None:
    """A NaN in the input reaches the output of that step: never a number that looks right."""
    x = example.x.copy()
    x[0, 0] = np.nan
    outputs = outputs_of(layer, Example(x, example.state))["output"]
    require(np.isnan(outputs[0, 0]).any(), "NaN in x[0] gives a finite output at step 0")
    require(np.isfinite(outputs[:, 1:]).all(), "NaN in one sequence reaches another")


@law()
def same_input_gives_same_bits(layer: Any, example: Example) -> None:
    """Twice the same call, twice the same bits, gradients included."""
    for run in (outputs_of, gradients_of):
        first, second = run(layer, example), run(layer, example)
        for name, array in first.items():
            require(np.array_equal(array, second[name], equal_nan=True), f"{name} differs between two equal calls")
