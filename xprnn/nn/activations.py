"""Functions of elements as modules, for :class:`Sequential`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input
from xprnn.nn.module import Module
from xprnn.tensor import Tensor


class Activation(Module):
    """Base of modules that keep the shape of x, floating, and have no parameters. Raises TypeError for other dtypes."""

    def forward(self, x: Any) -> Tensor:
        return self.function(floating_input(type(self).__name__, "x", x))

    @abstractmethod
    def function(self, x: Tensor) -> Tensor:
        """y of x."""


class Tanh(Activation):
    """y = tanh(x), element by element."""

    def function(self, x: Tensor) -> Tensor:
        return ops.tanh(x)


class Sigmoid(Activation):
    """y = 1 / (1 + e ** -x), element by element."""

    def function(self, x: Tensor) -> Tensor:
        return ops.sigmoid(x)


class ReLU(Activation):
    """y = max(x, 0), element by element."""

    def function(self, x: Tensor) -> Tensor:
        return ops.relu(x)


class Softmax(Activation):
    """y = e ** x / sum(e ** x), the sum over the last axis."""

    def function(self, x: Tensor) -> Tensor:
        return ops.softmax(x)
