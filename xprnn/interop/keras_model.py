"""A model as Keras calls it: batch first, with the mask that an Embedding or a Masking makes handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xprnn import ops
from xprnn.arguments import floating_input, input_tensor, of_kind
from xprnn.backend import Array, namespace
from xprnn.nn.embedding import Embedding
from xprnn.nn.module import Module
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.nn.sequential import Sequential
from xprnn.tensor import Tensor

MERGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "concat": lambda a, b: ops.concat([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: 0.5 * (a + b),
}


class KerasRecurrent(Module):
    """A recurrent layer with Keras' ``return_sequences``, and ``merge`` of two directions; x (B, T, I).

    ``zeros`` is Keras' ``zero_output_for_mask``, of layers of one direction that give sequences.
    """

    def __init__(self, layer: RecurrentLayer, sequences: bool, merge: str = "concat", zeros: bool = False) -> None:
        self.layer, self.sequences, self.merge, self.zeros = layer, sequences, merge, zeros

    def forward(self, x: Any, mask: Array | None = None) -> Tensor:
        """(B, T, O) or, of the last step alone, (B, O). Where the mask (B, T) is False the state is held.

        Outputs are then the one before or, of two directions and with ``zeros``, zero, as in Keras.
        """
        output, state = self.layer(x, mask=mask)
        last = state[0] if isinstance(state, tuple) else state  # (directions, B, H)
        both = self.layer.bidirectional
        if not self.sequences:
            return MERGES[self.merge](last[0], last[1]) if both else last[0]
        if mask is not None and (both or self.zeros):
            output = ops.where(namespace(mask).expand_dims(mask, axis=-1), output, 0.0)
        if not both:
            return output
        half = self.layer.hidden_size
        return MERGES[self.merge](output[..., :half], output[..., half:])


class Masking(Module):
    """Masks the steps of x (B, T, I) at which all inputs have one value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def forward(self, x: Any) -> tuple[Tensor, Array]:
        """x with zeros there, and the mask (B, T)."""
        x = floating_input("Masking", "x", x)
        xp = namespace(x.data)
        mask = xp.any(x.data != self.value, axis=-1)
        return ops.where(xp.expand_dims(mask, axis=-1), x, 0.0), mask


class KerasEmbedding(Module):
    """An Embedding whose number 0 masks the step, where ``mask_zero`` is said."""

    def __init__(self, table: Embedding) -> None:
        self.table = table

    def forward(self, x: Any) -> tuple[Tensor, Array]:
        """The vectors, and the mask in the shape of x."""
        x = input_tensor("KerasEmbedding", "x", x)
        return self.table(x), x.data != 0


class KerasModel(Module):
    """A model of Keras: its layers one after the other.

    x (B, T, I) floating, or (B, T) integers where the first layer is an Embedding; y as in Keras. A mask may be given,
    (B, T) booleans, False where there is nothing; an Embedding with ``mask_zero`` and a Masking make their own.
    """

    def __init__(self, *layers: Module) -> None:
        self.layers = [of_kind("KerasModel", f"layers[{k}]", layer, Module) for k, layer in enumerate(layers)]

    def forward(self, x: Any, mask: Array | None = None) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, (KerasEmbedding, Masking)):
                x, mask = layer(x)
            elif isinstance(layer, KerasRecurrent):
                x = layer(x, mask)
                mask = mask if layer.sequences else None
            else:
                x = layer(x)
        return x

    def sequential(self) -> Sequential:
        """The same layers as a Sequential, for streams and :mod:`xprnn.interop.c`, which know no masks.

        Raises ValueError for layers that see more than the present step: two directions, one output for all steps.
        """
        found: list[Module] = []
        for layer in self.layers:
            if isinstance(layer, KerasRecurrent):
                if layer.layer.bidirectional or not layer.sequences:
                    raise ValueError("KerasModel: two directions, or return_sequences=False, cannot run step by step")
                layer = layer.layer
            elif isinstance(layer, (KerasEmbedding, Masking)):
                raise ValueError(f"KerasModel: a {type(layer).__name__} makes masks, which no stream knows")
            found.append(layer)
        return Sequential(*found)
