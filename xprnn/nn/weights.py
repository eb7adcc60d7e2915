"""The weights that a module declared, taken from its attributes, which anybody may have assigned since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xprnn.backend import NATIVE, dtype_name
from xprnn.tensor import Parameter, Tensor


@dataclass(frozen=True)
class Declared:
    """The weights of one cell that a module holds: by the cell's names, attribute, shape and dtype of each."""

    attributes: dict[str, tuple[str, tuple[int, ...], str]]

    @staticmethod
    def of(module: object, weights: dict[str, Parameter], suffix: str = "") -> Declared:
        """Weights made attributes of a module, with a suffix to their names."""
        for name, weight in weights.items():
            setattr(module, name + suffix, weight)
        return Declared({name: (name + suffix, w.shape, dtype_name(w.data)) for name, w in weights.items()})

    def present(self, module: object) -> dict[str, Parameter]:
        """What the attributes hold now. Raises as :func:`weight_of` does."""
        found = {}  # a loop, since a comprehension of these takes half as long again
        for name, (attribute, shape, dtype) in self.attributes.items():
            found[name] = weight_of(module, attribute, shape, dtype)
        return found


def weight_of(module: object, name: str, shape: tuple[int, ...], dtype: str) -> Parameter:
    """The weight that a module has under a name.

    Raises TypeError for what is no Tensor or of another dtype, and ValueError for another shape: broadcast, it would
    give wrong numbers in silence.
    """
    weight: Any = getattr(module, name)
    data = weight.data if isinstance(weight, Tensor) else None
    if data is None or data.shape != shape or (data.dtype is not NATIVE.get(dtype) and dtype_name(data) != dtype):
        raise _misfit(f"{type(module).__name__}: {name}", weight, shape, dtype)
    return weight


def _misfit(label: str, weight: Any, shape: tuple[int, ...], dtype: str) -> Exception:
    if not isinstance(weight, Tensor):
        return TypeError(f"{label} is a {type(weight).__name__}; expected a Parameter of shape {shape}")
    if weight.data.shape != shape:
        return ValueError(f"{label} has shape {weight.shape}; expected {shape}")
    return TypeError(f"{label} has dtype {dtype_name(weight.data)}; expected {dtype}")
