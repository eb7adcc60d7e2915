"""Padding before the beginning: the mask that goes with it, the way back, and layers that do not see it."""

import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Tensor, nn, ops
from xprnn.data import Buckets, lengths_to_mask, pad_sequences, unpad
from xprnn.train import mse


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_there_and_back(home, rng, shape, batch_first):
    before = [home.asarray(rng.normal(size=(n, *shape))) for n in (3, 0, 5)]
    padded, lengths = pad_sequences(before, -1.5, length=6, batch_first=batch_first, side="left")
    assert_close(unpad(padded, lengths, batch_first, side="left"), before, 0.0)
    mask = host(lengths_to_mask(lengths, 6, batch_first, side="left"))
    rows = np.moveaxis(host(padded), 0 if batch_first else 1, 0)
    assert (rows[0, :3] == -1.5).all()
    assert (rows[1] == -1.5).all()
    np.testing.assert_array_equal(mask if batch_first else mask.T, np.arange(6) >= 6 - np.array([[3], [0], [5]]))
    assert (host(padded)[~mask] == -1.5).all()


def test_the_example():
    padded, lengths = pad_sequences([[1, 2, 3], [4, 5], [6, 7, 8, 9]], side="left")
    assert padded.T.tolist() == [[0, 1, 2, 3], [0, 0, 4, 5], [6, 7, 8, 9]]
    assert lengths_to_mask(lengths, side="left").T.tolist() == [
        [False, True, True, True],
        [False, False, True, True],
        [True] * 4,
    ]
    assert lengths_to_mask([0, 2], side="left").T.tolist() == [[False, False], [True, True]]
    assert lengths_to_mask([], side="left").shape == (0, 0)


def test_gradients_flow_back_through_unpad():
    x = Tensor(np.zeros((3, 2)), requires_grad=True)
    ops.sum(ops.concat(unpad(x, [1, 3], side="left"))).backward()
    assert x.grad.data.tolist() == [[0, 1], [0, 1], [1, 1]]


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_layer_with_the_mask_sees_no_padding(rng, layer):
    sequences = [rng.normal(size=(n, 2)) for n in (4, 1, 6)]
    net = layer(2, 3, dtype="float64", rng=0)
    padded, lengths = pad_sequences(sequences, np.nan, side="left")
    mask = lengths_to_mask(lengths, side="left")
    output, _ = net(padded, mask=mask)
    for k, sequence in enumerate(sequences):
        alone, _ = net(sequence[:, None])
        assert_close(output.data[-1, k], alone.data[-1, 0], 1e-12)
        assert_close(unpad(output, lengths, side="left")[k].data, alone.data[:, 0], 1e-12)
    loss = mse(output, np.zeros_like(output.data), mask)
    loss.backward()
    assert loss.weight == 11 * 3
    assert all(np.isfinite(p.grad.data).all() for p in net.parameters())


def test_buckets():
    batches = Buckets([[1, 2], [3], [4, 5, 6]], np.array([0, 1, 0]), batch_size=2, side="left")
    found = [(x.T.tolist(), lengths.tolist()) for x, lengths, _ in batches]
    assert found == [([[4, 5, 6], [0, 1, 2]], [3, 2]), ([[3]], [1])]


def test_errors():
    for call in (
        lambda: pad_sequences([[1]], side="top"),
        lambda: lengths_to_mask([1], side="top"),
        lambda: unpad(np.ones((2, 2)), [1, 2], side="top"),
        lambda: Buckets([[1]], batch_size=1, side="top"),
    ):
        with pytest.raises(ValueError, match="side is 'top'; expected 'right' or 'left'"):
            call()
