"""Drawn: batches made anew by a function, so that nothing is seen twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from xprnn.arguments import whole_number
from xprnn.data.generator_state import GeneratorState
from xprnn.data.portions import Divisible, axes_of, cut
from xprnn.randomness import Rng, generator


class Drawn(Divisible, GeneratorState):
    """Batches of :func:`xprnn.train.fit` without end: each ``iter()`` draws ``updates`` new ones, draw(rng=rng).

    >>> from xprnn.data import adding_problem
    >>> batches = Drawn(lambda rng: adding_problem(100, 32, rng=rng), updates=50, rng=0)
    >>> [x.shape for x, y in batches][:2]
    [(100, 32, 2), (100, 32, 2)]

    ``axis`` is the one of the arrays along which sequences lie, by which ``fit`` weights the batches, or one for each
    array, which ranks need that share a batch; then ``batches.axis`` is the first. ``state_dict`` keeps the generator,
    so that a resumed run draws what it would have drawn.

    Raises TypeError for a draw that cannot be called, ValueError for updates below 1.
    """

    owner = "Drawn"

    def __init__(
        self, draw: Callable[..., Any], *, updates: int, axis: int | Sequence[int] = 1, rng: Rng = None
    ) -> None:
        if not callable(draw):
            raise TypeError(f"Drawn: draw is a {type(draw).__name__}; expected a function of rng that gives a batch")
        self.draw, self.rng = draw, generator(rng)
        self.updates, self.axes = whole_number("Drawn", "updates", updates), axes_of("Drawn", axis)
        self.axis = self.axes if isinstance(self.axes, int) else self.axes[0]

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[Any]:
        return (self.draw(rng=self.rng) for _ in range(self.updates))

    def parts(self, rank: int, size: int) -> Iterator[Any]:
        """One epoch of the parts of one rank, each cut from a whole batch that all of them draw."""
        return (cut("Drawn", batch, self.axes, rank, size) for batch in self)
