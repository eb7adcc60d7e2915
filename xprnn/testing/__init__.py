"""The public test kit: gradient checks, the laws of recurrence, and hypothesis strategies.

    check_gradients(f, inputs)   gradients of any function against finite differences
    check_every_gradient         the same entry by entry, for small inputs: says which one is wrong
    check_laws(layer)            every law that applies to a recurrent layer or to a cell of your own
    xprnn.testing.strategies     sizes, dtypes, lengths, memory layouts, whole examples; needs hypothesis

Each raises AssertionError with what differs and by how much.
"""

from xprnn.testing.example import Example
from xprnn.testing.gradients import check_every_gradient, check_gradients, check_second_gradients, numerical_gradients
from xprnn.testing.laws import LAWS, check_laws

__all__ = [
    "LAWS",
    "Example",
    "check_every_gradient",
    "check_gradients",
    "check_laws",
    "check_second_gradients",
    "numerical_gradients",
]
