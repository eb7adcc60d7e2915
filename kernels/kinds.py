"""The cells that the kernels know, each in one row of a table that everything else asks; and the words of a call.

The host's kernels run every kind, those for CUDA the ones that name them. Compiled code has a kind as its number, and
of a row what is taken out of the table when it is imported, such as PARTS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

TANH, RELU, LSTM, PEEPHOLE, GRU, RESET_BEFORE, IND_TANH, IND_RELU, NORM_LSTM, NORM_GRU = range(10)
MGU, LEAKY_TANH, LEAKY_RELU, SLSTM, SLSTM_EXP, GATED_LEAKY = range(10, 16)
GENERAL_RNN, GENERAL_LSTM, COUPLED_LSTM, GENERAL_GRU, GENERAL_RESET_BEFORE = range(16, 21)
"""The kinds of cells: where their rows stand in KINDS."""

Weights = dict[str, Any]
"""Arrays of one layer in one direction, by PyTorch's names."""

State = tuple[Any, ...]
"""The parts of a state, h first: one array each, or None for a cotangent that is zero."""


class Flags(NamedTuple):
    """(T, B) booleans, or None: where the state moves on, and where it is zero before the step."""

    advance: Any | None
    restart: Any | None


class Diagonal(NamedTuple):
    """A row of elementwise weights: the gate that it is added to, times which part of which state."""

    gate: int
    part: int
    new: bool
    """Of the state after the step, or else before it."""


OF_SIGMOID, OF_TANH, OF_RELU, OF_HARD_SIGMOID = range(4)
FUNCTIONS = {
    "sigmoid": OF_SIGMOID,
    "tanh": OF_TANH,
    "relu": OF_RELU,
    "hard_sigmoid": OF_HARD_SIGMOID,
    "torch_hard_sigmoid": OF_HARD_SIGMOID,
}
"""What a function that is chosen may be, by xprnn's names of activations."""


class Function(NamedTuple):
    """A gate's function as the numbers that a step reads: which it is, and of what is cut to -clip ... clip.

    A hard sigmoid is alpha z + beta, cut to 0 ... 1; the others have no use for these two.
    """

    number: float
    alpha: float
    beta: float
    clip: float


FIELDS = len(Function._fields)


@dataclass(frozen=True, eq=False)  # a row of the table is equal to itself, and quickly found by it
class Kind:
    """What there is to know of a cell but its equations."""

    number: int
    gates: int
    """Blocks of H rows in weight_ih and in the biases."""
    parts: tuple[str, ...]
    """Of the state, by name."""
    kept: int
    """Blocks of H columns that a step works on, and leaves for the way back: its gates, and products beside them."""
    places: tuple[int, ...]
    """For each block of H rows in weight_hh, the kept block that its product with h is added to."""
    second: int = 0
    """How many of these blocks, the last ones, are a product of their own."""
    between: bool = False
    """Whether that product can only begin when the other gates are known; it multiplies the last kept block then."""
    diagonals: tuple[Diagonal, ...] = ()
    """Rows of elementwise weights (diagonals, H)."""
    diagonals_in: str = ""
    """The name of those weights."""
    constants: int = 0
    """Numbers of the cell itself, which come as "constants" among the weights, and of which a step reads rows."""
    functions: int = 0
    """How many functions it leaves to be chosen, in the order of its gates and last that of c': they come as
    "functions" among the weights, each a :class:`Function`. Equations of these kinds are in general_gates.py."""
    norms: tuple[int, ...] = ()
    """How many blocks of a product are normalised together, from the first on; none where products are not."""
    by_state: bool = False
    """Whether the way back needs no kept blocks: slopes follow from the state after a step."""
    step: str = ""
    """The CUDA kernels that run it step by step, by the name before "_forward" and "_backward"."""
    persistent: str = ""
    """What persistent CUDA kernels call it."""

    @cached_property
    def apart(self) -> bool:
        """Whether a product with h stays apart from the input's, so that their biases and cotangents differ."""
        return any(place >= self.gates for place in self.places)

    @cached_property
    def plain(self) -> bool:
        """Whether the gradients of its matrices are sums of products' cotangents, times x and h before the step."""
        return len(self.parts) <= 2 and bool(self.places) and not (self.between or self.diagonals)

    @cached_property
    def even(self) -> bool:
        """Whether it is plain, and each gate has a product with h."""
        return self.plain and len(self.places) == self.gates

    @cached_property
    def regularised(self) -> bool:
        """Whether the host's kernels have it with zoneout and masks of h and candidates: where a product has h."""
        return bool(self.places)

    @cached_property
    def more(self) -> bool:
        """Whether the host's kernels have it with more products in a step: with an h that leaves projected, of another
        size, since h goes into one product and nowhere else.
        """
        return self.parts == ("h", "c") and not self.second

    def read(self, size: int) -> int:
        """How many numbers a step of so many units reads beside its matrices and biases."""
        return self.functions * FIELDS or self.rows * size

    @cached_property
    def rows(self) -> int:
        """How many rows of H elementwise weights a step reads: where it normalises, gains and biases."""
        return 3 * self.gates + (2 if "c" in self.parts else 1) if self.norms else len(self.diagonals) + self.constants

    @cached_property
    def moments(self) -> int:
        """Numbers kept behind the blocks of a step: of what is normalised, what the way back needs beside it."""
        return 4 if self.norms else 0

    @cached_property
    def products(self) -> tuple[int, int]:
        """Blocks of weight_hh in the first product of a step, and in the second."""
        return len(self.places) - self.second, self.second


_OWN_STATE = (Diagonal(0, 0, False),)

KINDS = (
    Kind(TANH, gates=1, parts=("h",), kept=1, places=(0,), by_state=True, step="elman"),
    Kind(RELU, gates=1, parts=("h",), kept=1, places=(0,), by_state=True, step="elman"),
    Kind(LSTM, gates=4, parts=("h", "c"), kept=4, places=(0, 1, 2, 3), step="lstm", persistent="Lstm"),
    Kind(
        PEEPHOLE,
        gates=4,
        parts=("h", "c"),
        kept=4,
        places=(0, 1, 2, 3),
        diagonals=(Diagonal(0, 1, False), Diagonal(1, 1, False), Diagonal(3, 1, True)),
        diagonals_in="weight_ch",
        step="lstm",
    ),
    Kind(GRU, gates=3, parts=("h",), kept=4, places=(0, 1, 3), second=1, step="gru", persistent="Gru"),
    Kind(RESET_BEFORE, gates=3, parts=("h",), kept=4, places=(0, 1, 2), second=1, between=True),
    Kind(
        IND_TANH,
        gates=1,
        parts=("h",),
        kept=1,
        places=(),
        diagonals=_OWN_STATE,
        diagonals_in="weight_hh",
        by_state=True,
    ),
    Kind(
        IND_RELU,
        gates=1,
        parts=("h",),
        kept=1,
        places=(),
        diagonals=_OWN_STATE,
        diagonals_in="weight_hh",
        by_state=True,
    ),
    Kind(NORM_LSTM, gates=4, parts=("h", "c"), kept=8, places=(4, 5, 6, 7), second=4, norms=(4,)),
    Kind(NORM_GRU, gates=3, parts=("h",), kept=9, places=(3, 4, 5), second=3, norms=(2, 1)),
    Kind(MGU, gates=2, parts=("h",), kept=3, places=(0, 1), second=1, between=True),
    Kind(LEAKY_TANH, gates=1, parts=("h",), kept=1, places=(0,), constants=2),
    Kind(LEAKY_RELU, gates=1, parts=("h",), kept=1, places=(0,), constants=2),
    Kind(SLSTM, gates=4, parts=("h", "c", "n", "m"), kept=5, places=(0, 1, 2, 3)),
    Kind(SLSTM_EXP, gates=4, parts=("h", "c", "n", "m"), kept=5, places=(0, 1, 2, 3)),
    Kind(GATED_LEAKY, gates=2, parts=("h",), kept=3, places=(2,), second=1, constants=1),
    Kind(GENERAL_RNN, gates=1, parts=("h",), kept=2, places=(0,), functions=1),
    Kind(GENERAL_LSTM, gates=4, parts=("h", "c"), kept=8, places=(0, 1, 2, 3), functions=5),
    Kind(COUPLED_LSTM, gates=3, parts=("h", "c"), kept=6, places=(0, 1, 2), functions=4),
    Kind(GENERAL_GRU, gates=3, parts=("h",), kept=7, places=(0, 1, 3), second=1, functions=3),
    Kind(GENERAL_RESET_BEFORE, gates=3, parts=("h",), kept=7, places=(0, 1, 2), second=1, between=True, functions=3),
)

FIRST_GENERAL = GENERAL_RNN
"""From this kind on functions are chosen."""
PARTS = tuple(len(kind.parts) for kind in KINDS)
MOST_PARTS = max(PARTS)


class LinearKind(NamedTuple):
    """A cell that is linear in its state, c' = a c + b, whose coefficients kernels compute."""

    gates: int
    """Blocks of columns in what they are made of."""
    output: bool
    """Whether it has an output beside its state."""


MINGRU, MINGRU_LOG, MINLSTM, MINLSTM_LOG, SRU, QRNN = range(6)
"""Where the rows of LINEAR stand."""

LINEAR = (
    LinearKind(gates=2, output=False),
    LinearKind(gates=2, output=False),
    LinearKind(gates=3, output=False),
    LinearKind(gates=3, output=False),
    LinearKind(gates=4, output=True),
    LinearKind(gates=3, output=True),
)
