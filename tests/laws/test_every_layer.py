"""Lengths, masks, resets, a carried state, both directions and a stream, for every layer over time that there is.

By what ``xprnn.nn`` exports and not by a list, so that a new layer is asked too.
"""

import inspect

import numpy as np
import pytest

from xprnn import nn
from xprnn.nn.recurrent.sequence_layer import SequenceLayer
from xprnn.testing import LAWS, Example
from xprnn.testing.laws import applies

OF_OTHERS = {
    "QuantizedRecurrent",
    "Recurrent",
    "RecurrentLayer",
}  # made of a layer or a cell, which are asked themselves
EVERY = sorted(
    name
    for name in nn.__all__
    if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), SequenceLayer) and name not in OF_OTHERS
)
ONE_WAY = ["runs_can_be_split", "resets_begin_new_sequences", "held_steps_do_not_count", "padding_is_never_seen"]
BOTH_WAYS = ["walking_back_is_reversing_twice", "sequences_do_not_see_each_other"]


@pytest.mark.parametrize("name", EVERY)
def test_every_layer_has_all_that_layers_have(name):
    for bidirectional, laws in ((False, ONE_WAY), (True, BOTH_WAYS)):
        layer = getattr(nn, name)(3, 4, bidirectional=bidirectional, dtype="float64", rng=1)
        example = Example.draw(layer, 3, steps=4, batch=3, ragged=True)
        for law in laws:
            assert applies(law, layer)
            LAWS[law](layer, example)


@pytest.mark.parametrize("name", EVERY)
def test_every_layer_has_a_stream(name):
    layer = getattr(nn, name)(3, 4, dtype="float64", rng=1)
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    spans = np.ones((5, 2, getattr(layer, "extra_inputs", 0)))  # a span of 1, nothing missing
    seen = np.concatenate([x, spans], axis=-1)
    stream = layer.stream(2)
    steps = [np.array(stream.step(x_t)) for x_t in seen[:2]]
    found = np.concatenate([np.stack(steps), np.array(stream.block(seen[2:]))])
    np.testing.assert_allclose(found, layer(x)[0].data, rtol=0, atol=1e-12)
