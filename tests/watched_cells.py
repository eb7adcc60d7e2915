"""Cells of one's own, for tests of diagnosis."""

from xprnn import nn, ops

T, B, I, H = 4, 2, 2, 3  # noqa: E741


class Chain:
    """h' = w h + x, the linear chain of the slides."""

    state_sizes = (1,)

    def __init__(self, w):
        self.w = w

    def step(self, x, state):
        return (self.w * state[0] + x,)


class OwnLSTM(nn.Module):
    """A user's LSTM out of primitives."""

    def __init__(self, layer):
        self.layer, self.state_sizes = layer, (layer.hidden_size,) * 2

    def step(self, x, state):
        h, c = state
        w = self.layer.weights()[0]
        z = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        i, f, g, o = (z[:, k * h.shape[1] : (k + 1) * h.shape[1]] for k in range(4))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c
