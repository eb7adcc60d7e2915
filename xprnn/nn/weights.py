"""The weights that a module declared, taken from its attributes, which anybody may have assigned since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xprnn.backend import dtype_name
from xprnn.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from xprnn.nn.module import Module


def weight_of(module: Module, name: str, shape: tuple[int, ...], dtype: str) -> Parameter:
    """The weight that a module has under a name.

    Raises TypeError for what is no Tensor or of another dtype, and ValueError for another shape: broadcast, it would
    give wrong numbers in silence.
    """
    weight: Any = getattr(module, name)
    data = weight.data if isinstance(weight, Tensor) else None
    if data is None or data.shape != shape or dtype_name(data) != dtype:
        raise _misfit(f"{type(module).__name__}: {name}", weight, shape, dtype)
    return weight


def _misfit(label: str, weight: Any, shape: tuple[int, ...], dtype: str) -> Exception:
    if not isinstance(weight, Tensor):
        return TypeError(f"{label} is a {type(weight).__name__}; expected a Parameter of shape {shape}")
    if weight.data.shape != shape:
        return ValueError(f"{label} has shape {weight.shape}; expected {shape}")
    return TypeError(f"{label} has dtype {dtype_name(weight.data)}; expected {dtype}")
