"""The weights that a module declared, taken from its attributes, which anybody may have assigned since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

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
    if not isinstance(weight, Tensor):
        kind, owner = type(weight).__name__, type(module).__name__
        raise TypeError(f"{owner}: {name} is a {kind}; expected a Parameter of shape {shape}")
    if weight.data.shape != shape:
        raise ValueError(f"{type(module).__name__}: {name} has shape {weight.shape}; expected {shape}")
    if dtype_name(weight.data) != dtype:
        raise TypeError(f"{type(module).__name__}: {name} has dtype {dtype_name(weight.data)}; expected {dtype}")
    return cast(Parameter, weight)
