"""One of two, element by element, with broadcasting."""

from __future__ import annotations

from xprnn import backend
from xprnn.backend import namespace
from xprnn.ops.arithmetic import binary
from xprnn.ops.operands import Operand, lifted, value, values, zeros_like
from xprnn.ops.shapes import unbroadcast
from xprnn.tape import record
from xprnn.tensor import Tensor


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of two, NaN where either is; where they are equal, the gradient goes to a."""
    return _chosen("maximum", a, b)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of two, NaN where either is; where they are equal, the gradient goes to a."""
    return _chosen("minimum", a, b)


def _chosen(name: str, a: Operand, b: Operand) -> Tensor:
    first = values(a, b)[0]
    return binary(
        name,
        a,
        b,
        lambda a, b: getattr(namespace(a, b), name)(a, b),
        lambda g, y: where(first == y.data, g, zeros_like(g)),
        lambda g, y: where(first == y.data, zeros_like(g), g),
        reads=(a, a),
        labels=("the left operand",) * 2,
    )


@lifted
def clip(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """x, but no less than min and no more than max. The gradient is that of x from the one to the other, 0 outside."""
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, else b. Nothing flows back from an element that was not chosen, not even NaN."""
    chosen, (left, right) = value(condition), values(a, b)
    xp = namespace(condition=chosen, a=left, b=right)
    if hasattr(chosen, "dtype") and backend.dtype_name(chosen) != "bool":
        raise TypeError(f"where: the condition has dtype {backend.dtype_name(chosen)}; expected bool")
    like = left if hasattr(left, "dtype") else right
    if not hasattr(like, "dtype"):
        raise TypeError("where: a and b are both numbers; expected an array or Tensor for at least one of them")
    kind = backend.dtype_name(like)
    for number in (left, right):
        narrow = kind == "bool" if type(number) is int else isinstance(number, float) and not kind.startswith("float")
        if narrow:
            raise TypeError(
                f"where: {'an int' if type(number) is int else 'a float'} beside an array of {kind} would be cut off; "
                "cast the array first"
            )
    left, right = (x if hasattr(x, "dtype") else xp.full_like(like, x) for x in (left, right))
    return record(
        "where",
        xp.where(chosen, left, right),
        (a, b),
        [
            lambda g, y: unbroadcast(where(chosen, g, zeros_like(g)), a),
            lambda g, y: unbroadcast(where(chosen, zeros_like(g), g), b),
        ],
        (chosen, chosen),
        ("the condition",) * 2,
    )
