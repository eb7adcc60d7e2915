"""A module with parts of every kind."""

import numpy as np

from xprnn import Parameter, nn


class Model(nn.Module):
    def __init__(self, rng=0):
        draws = np.random.default_rng(rng)
        self.embedding = nn.Embedding(5, 3, rng=draws)
        self.stack = [nn.Linear(3, 4, rng=draws), nn.Dropout(0.5, rng=draws)]
        self.lstm = nn.LSTM(4, 2, rng=draws)
        self.scale = Parameter(np.ones(2, "float32"))
        self.name = "model"

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.stack:
            x = layer(x)
        return self.lstm(x)[0] * self.scale


NAMES = [
    "scale",
    "embedding.weight",
    "stack.0.weight",
    "stack.0.bias",
    "lstm.weight_ih_l0",
    "lstm.weight_hh_l0",
    "lstm.bias_ih_l0",
    "lstm.bias_hh_l0",
]
