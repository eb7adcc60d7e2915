"""Captures of amplifiers and pedals by LSTM in ``.nam`` files, as Neural Amp Modeler plays them.

The format: https://github.com/sdatkinson/neural-amp-modeler, JSON, written as version 0.7.0; 0.5 to 0.7 are read. Its
``weights`` are one list of numbers: of each layer [weight_ih | weight_hh] row by row, the sum of both biases, and the
state h and c that it begins with; then weight and bias of a Linear. Of its architectures LSTM is known.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xprnn.arguments import above_zero, float_dtype, of_kind, whole_number
from xprnn.backend import to_numpy
from xprnn.cells import LSTM as LSTMSpec
from xprnn.interop.chain import arrays
from xprnn.interop.json_files import array, entry, opened, parsed, write_json
from xprnn.nn.linear import Linear
from xprnn.nn.recurrent.layers import LSTM
from xprnn.nn.recurrent.stream import Stream
from xprnn.nn.sequential import Sequential
from xprnn.tensor import Tensor
from xprnn.whole_files import Path_

__all__ = ["Capture", "load", "save"]

Host = np.ndarray[Any, Any]
VERSION, OLDEST, NEWEST = "0.7.0", (0, 5), (0, 7)


@dataclass(frozen=True, eq=False)
class Capture:
    """What a ``.nam`` file holds: an LSTM, the Linear behind it, the state to begin with, and what is told of it.

    ``state`` is (h, c), each (layers, hidden); zeros where it is None. ``sample_rate`` is in Hz; None where it is not
    said, by which players mean 48000. ``metadata`` is any JSON.

    Raises TypeError or ValueError for layers that the format has no place for (peepholes, projection, both directions)
    and for sizes that do not fit.
    """

    lstm: LSTM
    head: Linear
    state: Any = None
    sample_rate: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in (("lstm", LSTM), ("head", Linear)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"Capture: {name} is a {type(getattr(self, name)).__name__}; expected {kind.__name__}")
        lstm, head = self.lstm, self.head
        others = {"bidirectional": lstm.bidirectional, "reverse": lstm.reverse, "with zoneout": lstm.zoned}
        if type(lstm.cell) is not LSTMSpec or any(others.values()):
            told = next((name for name, there in others.items() if there), f"of {lstm.cell.name}")
            raise ValueError(f"Capture: lstm is {told}; expected an LSTM without peepholes and projection, one way")
        if head.in_features != lstm.hidden_size:
            raise ValueError(f"Capture: head takes {head.in_features} inputs; expected {lstm.hidden_size}")
        of_kind("Capture", "metadata", self.metadata, Mapping)
        if wrong := [name for name in self.metadata if not isinstance(name, str)]:
            raise TypeError(f"Capture: metadata is of {wrong[0]!r} too; expected names, which are str")
        object.__setattr__(self, "state", self._parts(self.state))  # frozen for users
        if self.sample_rate is not None:
            object.__setattr__(self, "sample_rate", above_zero("Capture", "sample_rate", self.sample_rate))

    def _parts(self, state: Any) -> tuple[Host, Host]:
        """h and c (L, H), copied to the host; as streams have them, (L, 1, H), too."""
        lstm = self.lstm
        shape = (lstm.num_layers, lstm.hidden_size)
        if state is None:
            return np.zeros(shape, lstm.dtype), np.zeros(shape, lstm.dtype)
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ValueError(f"Capture: state is {reprlib.repr(state)}; expected a pair (h, c)")
        h, c = (np.array(to_numpy(part.data if isinstance(part, Tensor) else part), lstm.dtype) for part in state)
        if h.shape == c.shape == (shape[0], 1, shape[1]):
            h, c = h[:, 0], c[:, 0]
        if not h.shape == c.shape == shape:
            raise ValueError(f"Capture: state has shapes {h.shape} and {c.shape}; expected {shape} of both")
        return h, c

    @property
    def model(self) -> Sequential:
        """The LSTM and the Linear, one after the other."""
        return Sequential(self.lstm, self.head)

    def stream(self) -> Stream:
        """Plays it: ``stream.block(x)`` for samples x (T, inputs), from the state of the file on."""
        stream = self.lstm.stream(batch=None, head=self.head)
        stream.state = tuple(part[:, None] for part in self.state)
        return stream


def load(path: Path_, *, dtype: str = "float32") -> Capture:
    """The capture in a ``.nam`` file of an LSTM.

    Raises OSError where the file cannot be read; ValueError, naming it, for other architectures and versions, for
    weights that are not as many as its config says, and for numbers that are not finite.
    """
    dtype = float_dtype("nam.load", dtype)
    with opened("nam.load", path) as content:
        return _capture(parsed(content), dtype)


def _capture(found: dict[str, Any], dtype: str) -> Capture:
    version = entry(found, "version", str)
    numbers = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.\d+", version, re.ASCII)
    if numbers is None or not OLDEST <= (int(numbers[1]), int(numbers[2])) <= NEWEST:
        raise ValueError(f"version is {version[:40]!r}; expected 0.5.0 to 0.7")
    if (architecture := entry(found, "architecture", str)) != "LSTM":
        raise ValueError(f"architecture is {architecture[:40]!r}; expected 'LSTM'")
    config = entry(found, "config", dict)
    names = ("input_size", "hidden_size", "num_layers")
    inputs, hidden, layers = (whole_number("config", name, entry(config, name, int, "config: ")) for name in names)
    if config.get("in_channels", inputs) != inputs:
        raise ValueError(f"config: in_channels differs from input_size = {inputs}")
    outputs = whole_number("config", "out_channels", config.get("out_channels", 1))
    weights = entry(found, "weights", list)
    rows = 4 * hidden
    count = rows * (inputs + (2 * layers - 1) * hidden) + layers * (rows + 2 * hidden) + outputs * (hidden + 1)
    flat = array(f"weights of {layers} layers of {hidden} units", weights, (count,), dtype)
    loaded: dict[str, Host] = {}
    state: list[tuple[Host, Host]] = []
    for layer in range(layers):
        width = inputs if layer == 0 else hidden
        both, bias, h, c, flat = np.split(flat, np.cumsum([rows * (width + hidden), rows, hidden, hidden]))
        both = both.reshape(rows, width + hidden)
        values = {"weight_ih": both[:, :width], "weight_hh": both[:, width:], "bias_ih": bias, "bias_hh": 0.0 * bias}
        loaded |= {f"{name}_l{layer}": value for name, value in values.items()}
        state.append((h, c))
    lstm = LSTM(inputs, hidden, layers, dtype=dtype, rng=0)
    lstm.load_state_dict(loaded)
    head = Linear(hidden, outputs, dtype=dtype, rng=0)
    head.load_state_dict({"weight": flat[:-outputs].reshape(outputs, hidden), "bias": flat[-outputs:]})
    metadata = entry({"metadata": {}} | found, "metadata", dict)
    return Capture(lstm, head, tuple(map(np.stack, zip(*state, strict=True))), found.get("sample_rate"), metadata)


def save(capture: Capture, path: Path_) -> None:
    """Write a capture as a ``.nam`` file, for players and plugins of Neural Amp Modeler.

    A head without bias has one of zeros. Players may let half a second of silence pass before they play, whatever the
    state; a state that has settled, ``stream.state`` after a second of zeros, saves them from hearing the difference.

    Raises TypeError for anything but a Capture, ValueError for metadata that JSON cannot say.
    """
    if not isinstance(capture, Capture):
        raise TypeError(f"nam.save: the capture is a {type(capture).__name__}; expected a Capture")
    lstm, head = capture.lstm, capture.head
    flat = []
    for number, weights in enumerate(lstm.weights()):
        w = arrays(weights)
        zeros = np.zeros(4 * lstm.hidden_size, lstm.dtype)
        bias = w.get("bias_ih", zeros) + w.get("bias_hh", zeros)
        flat += [np.hstack([w["weight_ih"], w["weight_hh"]]), bias, *(part[number] for part in capture.state)]
    last = arrays({"weight": head.weight, "bias": head.bias})
    flat += [last["weight"], last.get("bias", np.zeros(head.out_features))]
    config = {"input_size": lstm.input_size, "hidden_size": lstm.hidden_size, "num_layers": lstm.num_layers}
    if (lstm.input_size, head.out_features) != (1, 1):
        config |= {"in_channels": lstm.input_size, "out_channels": head.out_features}
    content = {
        "version": VERSION,
        "metadata": dict(capture.metadata),
        "architecture": "LSTM",
        "config": config,
        "weights": [number for each in flat for number in each.ravel().tolist()],
    }
    rate = {} if capture.sample_rate is None else {"sample_rate": capture.sample_rate}
    write_json("nam.save", path, content | rate)
