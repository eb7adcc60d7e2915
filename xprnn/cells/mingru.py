"""minGRU (Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, "Were RNNs all we needed?", arXiv 2410.01201)."""

from __future__ import annotations

from xprnn.backend import Array, namespace
from xprnn.cells.cell import Weights, sigmoid
from xprnn.cells.linear import LinearCell, halves, positive, positive_back

SPACES = ("log", "linear")


class MinGRU(LinearCell):
    """z = sigmoid(zx_z);  h' = (1 - z) h + z g(zx_h), with blocks in the order z, h.

    ``space`` says which of the paper's versions: "linear" has g(v) = v (its section 3.1); "log" has g(v) = v + 1/2 for
    v >= 0, else sigmoid(v) (its appendix B). That g is positive for the paper's scan over logarithms; here 1 - z in
    [0, 1] keeps a scan over plain numbers as exact, and it also takes initial states that are not positive.
    """

    gate_names = ("z", "h")

    def __init__(self, space: str = "log") -> None:
        self.space = known_space("MinGRU", space)

    @property
    def name(self) -> str:
        return f"MinGRU ({self.space})"

    def coefficients(self, w: Weights, zx: Array) -> tuple[Array, Array]:
        k, v = halves(zx)
        return sigmoid(-k), sigmoid(k) * (positive(v) if self.space == "log" else v)

    def coefficients_vjp(self, w: Weights, zx: Array, da: Array, db: Array) -> tuple[Array, Weights]:
        k, v = halves(zx)
        z, log = sigmoid(k), self.space == "log"
        dk = (db * (positive(v) if log else v) - da) * z * (1.0 - z)
        dv = positive_back(v, db * z) if log else db * z
        return namespace(zx).concat([dk, dv], axis=-1), {}


def known_space(owner: str, space: str) -> str:
    """The name of a version. Raises ValueError for another."""
    if not isinstance(space, str) or space not in SPACES:
        raise ValueError(f"{owner}: space is {space!r}; expected 'log' or 'linear'")
    return space
