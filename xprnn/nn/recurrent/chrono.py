"""Chrono initialisation: gates that start with memories of many lengths."""

from __future__ import annotations

import numpy as np

from xprnn.arguments import whole_number
from xprnn.backend import backend_of, dtype_name, to_numpy
from xprnn.nn.recurrent.layers import GRU, LSTM
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter


def chrono_init(layer: LSTM | GRU, longest: int, *, rng: Rng = None) -> None:
    """Give each unit of a layer a characteristic memory of 1 to ``longest`` - 1 steps (Tallec and Ollivier 2018).

    LSTM: b_f = log u, b_i = -b_f;  GRU: b_z = log u;  u from U(1, longest - 1), one for each unit, layer and direction.
    A gate sigmoid(log u) keeps u / (1 + u) of the state at each step, which fades by 1 / e in about u + 1 steps. The
    biases are set in bias_ih, and to 0 in bias_hh; those of the other gates stay. arXiv 1804.11188.

    Raises TypeError for another layer; ValueError for one without biases, and for ``longest`` below 3.
    """
    owner = "chrono_init"
    if not isinstance(layer, (LSTM, GRU)):
        raise TypeError(f"{owner}: layer is a {type(layer).__name__}; expected an LSTM or a GRU, which have gates")
    if not layer.bias:
        raise ValueError(f"{owner}: the layer was built with bias=False; expected bias=True, since biases are set")
    longest, draws = whole_number(owner, "longest", longest, 3), generator(rng)
    for weights in layer.weights():
        log_u = np.log(draws.uniform(1.0, longest - 1.0, layer.hidden_size))
        # z of a GRU is the share of the old state, as f of an LSTM is.
        biases = {"i": -log_u, "f": log_u} if isinstance(layer, LSTM) else {"z": log_u}
        for gate, bias in biases.items():
            rows = layer.cell.gate_rows(gate, layer.hidden_size)
            _set_rows(weights["bias_ih"], rows, bias)
            _set_rows(weights["bias_hh"], rows, np.zeros_like(bias))


def _set_rows(parameter: Parameter, rows: slice, values: np.ndarray) -> None:
    data = np.array(to_numpy(parameter.data))
    data[rows] = values
    parameter.data = backend_of(parameter.data).asarray(data.astype(dtype_name(parameter.data)))
