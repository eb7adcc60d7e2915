"""Cells that write their step alone, and cells that also know how to take many steps at once."""

from __future__ import annotations

from abc import abstractmethod

from xprnn.backend import Array, Backend
from xprnn.cells.cell import Cell, Saved, State, Weights


class ComposedCell(Cell):
    """A cell of a step and nothing else: layers find the way back by the tape.

    ``step`` saves nothing. It is written with ``namespace`` for arrays and Tensors, and takes any number of sequences:
    for the gradients of the weights all steps are computed again side by side.
    """

    composed = True

    def step_vjp(
        self, w: Weights, dstate: State, saved: Saved, state: State, new_state: State
    ) -> tuple[Array, State, Saved]:
        raise NotImplementedError(f"{self.name} writes out no way back; layers ask the tape for it")

    def weight_vjp(self, w: Weights, dzx: Array, terms: Saved, states: State, new_states: State) -> Weights:
        raise NotImplementedError(f"{self.name} writes out no way back; layers ask the tape for it")


class ManyStepCell(ComposedCell):
    """A cell that can also take all steps of a sequence at once, in other arithmetic than one after another."""

    many = True

    @property
    def kept(self) -> tuple[bool, ...]:
        """Which parts of the state there are after every step; others are too large, and whoever wants them walks."""
        return (True,) * len(self.state_names)

    @abstractmethod
    def steps(self, w: Weights, zx: Array, state: State, live: Array | None, home: Backend) -> State:
        """Of each part of the state that is kept the values after all steps (T, B, ...), of others the last ones.

        zx (T, B, Z) with T > 0. Where ``live`` (T, B, 1) is False, which it is at the end of a sequence only, steps do
        not count: what is kept may be anything there, and the last values are those before. For arrays and Tensors;
        ``home`` makes arrays beside them.
        """

    def steps_vjp(
        self, w: Weights, zx: Array, state: State, live: Array | None, cotangents: State
    ) -> tuple[Array, State, Weights]:
        """From the cotangents of what :meth:`steps` gives: dzx, those of state, and the gradients of the weights."""
        raise NotImplementedError(f"{self.name} writes out no way back; layers ask the tape for it")
