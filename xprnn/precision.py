"""How exactly products of float32 arrays are computed: the user's choice."""

from __future__ import annotations

from xprnn.setting import Choice, Setting

PRECISIONS = ("float32", "tf32", "bf16")

_chosen: Setting[str] = Setting("precision")


class use_precision(Choice[str]):  # noqa: N801 - reads as a verb in both of its uses
    """Let recurrent layers round what they multiply; for the process, or as a context manager.

    =========  ================================================================  ==========================
    precision  operands of products, x W and h W and those of the gradients      sums, states, gates
    =========  ================================================================  ==========================
    float32    as they are; the default                                          float32
    tf32       rounded to 10 bits after the point (relative error 2^-11)         float32
    bf16       rounded to 7 bits after the point (relative error 2^-8)           float32
    =========  ================================================================  ==========================

    It is a permission, for speed on a GPU's tensor cores: an implementation that knows float32 only is exact still, and
    ``explain`` says which one runs. Weights, optimizers, other layers, and all that is float64 are not touched. A way
    back goes as its way forward went. Raises ValueError for an unknown precision.
    """

    def __init__(self, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"use_precision: {precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
        super().__init__(_chosen, precision)


def current_precision() -> str:
    """What ``use_precision`` chose, else "float32"."""
    return _chosen.get() or "float32"
