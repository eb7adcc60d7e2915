"""What quantizing did to a model: errors on calibration data, sizes, and what stayed as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xprnn.backend import to_numpy
from xprnn.nn.module import Module
from xprnn.tensor import Tensor

Host = np.ndarray[Any, Any]


@dataclass
class Error:
    """How far outputs are off, over all that was seen."""

    most: float = 0.0
    """The largest absolute error."""
    mean: float = 0.0
    """The mean absolute error."""
    largest: float = 0.0
    """The largest absolute value of the outputs themselves."""
    count: int = 0
    """How many numbers were compared."""

    def see(self, expected: Any, found: Any) -> None:
        """Compare outputs of one call: Tensors, arrays, and tuples, lists and dicts of them."""
        for a, b in zip(_floats(expected), _floats(found), strict=True):
            off = np.abs(a.astype(np.float64) - b)
            if off.size:
                self.most = float(np.maximum(self.most, off.max()))  # NaN where one of them is
                self.largest = float(np.maximum(self.largest, np.abs(a).max()))
                self.mean = (self.mean * self.count + float(off.sum())) / (self.count + off.size)
                self.count += off.size


def _floats(output: Any) -> Iterator[Host]:
    if isinstance(output, (Tensor, np.ndarray)) or hasattr(output, "__dlpack__"):
        host = to_numpy(output.data if isinstance(output, Tensor) else output)
        if host.dtype.kind == "f":
            yield host
    elif isinstance(output, Mapping):
        yield from _floats(list(output.values()))
    elif isinstance(output, (tuple, list)):
        for each in output:
            yield from _floats(each)


@dataclass(frozen=True)
class Quantization:
    """The report of :func:`xprnn.nn.quantize`, which the model keeps as ``quantization``; printed, it is a table."""

    layers: dict[str, tuple[str, Error]]
    """What has weights of 8 bits, by name: what it was, and how far its outputs are off for inputs as it had them in
    float32."""
    left: dict[str, str]
    """What has weights and keeps them, and why."""
    sizes: tuple[int, int]
    """Bytes of all parameters, before and after."""
    output: Error = field(default_factory=Error)
    """How far the outputs of the whole model are off."""

    def __str__(self) -> str:
        before, after = self.sizes
        lines = [f"int8: {before} bytes of parameters are now {after}"]
        rows = [(f"{name or 'model'} ({what})", error) for name, (what, error) in self.layers.items()]
        for name, error in [*rows, ("all together", self.output)]:
            found = f"at most {error.most:.2g}, {error.mean:.2g} on average, of {error.largest:.3g}"
            lines.append(f"  {name}: " + (found if error.count else "no calibration data"))
        lines += [f"  {name or 'model'} stays as it was: {reason}" for name, reason in self.left.items()]
        return "\n".join(lines)


class Probe(Module):
    """A layer beside its quantized twin on the same inputs: it gives the layer's outputs, and notes how far off."""

    def __init__(self, layer: Module, twin: Module, error: Error) -> None:
        self.layer, self.twin, self.error = layer, twin, error

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["layer"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.layer(*args, **kwargs)
        found = self.twin(*args, **kwargs)
        first = isinstance(output, tuple)
        self.error.see(output[0] if first else output, found[0] if first else found)
        return output


def batches(owner: str, calibration: Any) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call: of one array, or of each item, which may be a tuple of them.

    Raises TypeError for what is neither, ValueError where there is no item.
    """
    if hasattr(calibration, "shape"):
        yield (calibration,)
        return
    if not isinstance(calibration, Iterable) or isinstance(calibration, (Mapping, str, bytes)):
        raise TypeError(
            f"{owner}: calibration is a {type(calibration).__name__}; expected an array, or several of them"
        )
    empty = True
    for item in calibration:
        empty = False
        yield item if isinstance(item, tuple) else (item,)
    if empty:
        raise ValueError(f"{owner}: calibration is empty; expected at least one batch")
