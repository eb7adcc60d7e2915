"""How exactly products of float32 arrays are computed: the user's choice."""

from __future__ import annotations

from xprnn.settings import Choice, Setting

PRECISIONS = ("float32", "tf32", "bf16", "fp16")

_chosen: Setting[str] = Setting("precision")


class use_precision(Choice[str]):  # noqa: N801 - reads as a verb in both of its uses
    """Let recurrent layers round what they multiply; for the process, or as a context manager.

    =========  ===========================================  =====================  ===================
    precision  operands of the forward products x W, h W    of the backward ones   sums, states, gates
    =========  ===========================================  =====================  ===================
    float32    as they are; the default                     as they are            float32
    tf32       rounded to 10 bits after the point (2^-11)   as forward             float32
    bf16       rounded to 7 bits after the point (2^-8)     as forward             float32
    fp16       rounded to 10 bits after the point (2^-11)   as in bf16             float32
    =========  ===========================================  =====================  ===================

    In parentheses, the largest relative error. In fp16, h and weight_hh may be taken as float16, which has steps of
    2^-24 below 2^-14, and NaN in place of what it cannot hold: 65520 and more. x may well be so large, and is rounded
    as in tf32. Cotangents may well be so small, and are rounded as in bf16: no loss needs to be scaled.

    It is a permission, for speed on a GPU's tensor cores: an implementation that knows float32 only is exact still, and
    ``explain`` says which one runs. On the host only bf16 does anything: in inference and streams weights are read as
    bfloat16, and nothing else is rounded. Parameters, optimizers, other layers, and all that is float64 are not
    touched. Backward has the precision that its forward had. Raises ValueError for an unknown precision.
    """

    def __init__(self, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"use_precision: {precision!r} is unknown; expected one of {', '.join(PRECISIONS)}")
        super().__init__(_chosen, precision)


def current_precision() -> str:
    """What ``use_precision`` chose, else "float32"."""
    return _chosen.get() or "float32"
