"""Sequential: modules one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xprnn.nn.module import Module

if TYPE_CHECKING:
    from xprnn.nn.recurrent.stream import Stream


class Sequential(Module):
    """Each module's result is the next one's input. Of a tuple, as recurrent layers return it, the first part goes on.

    The modules are named "0", "1", ..., as in PyTorch.
    """

    def __init__(self, *modules: Module) -> None:
        for position, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: argument {position} is a {type(module).__name__}; expected a Module")
            setattr(self, str(position), module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
            x = x[0] if isinstance(x, tuple) else x
        return x

    def stream(self, batch: int | None = 1) -> Stream:
        """Open a :class:`xprnn.nn.Stream` of all modules: step by step or block by block, their states kept.

        They may be recurrent layers, Linear, LayerNorm of the last axis, activations, Dropout, and Sequential of these;
        TypeError for others, and for a subclass with a forward of its own.
        """
        from xprnn.nn.recurrent.stream import Stream  # with its parts, which few programs need

        if type(self).forward is not Sequential.forward:
            raise TypeError(f"{type(self).__name__}: it has a forward of its own; expected a chain of modules")
        return Stream(self, batch)

    def flat(self) -> list[Module]:
        """All modules in order, those of a Sequential among them in its place."""
        return [each for module in self for each in (module.flat() if type(module) is Sequential else [module])]

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __getitem__(self, position: int) -> Module:
        return list(self)[position]

    def __len__(self) -> int:
        return sum(1 for _ in self.children())
