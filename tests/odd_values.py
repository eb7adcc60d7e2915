"""Values of JSON that somebody might write where a file holds others."""

import math

ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    5000,
    10**7,
    2**63,
    10**400,
    0.0,
    0.5,
    -0.5,
    1e308,
    math.nan,
    math.inf,
    "",
    "no",
]
ODD += [[], [1], [[]], {}, {"a": 1}, [0.5], [10**400], [math.nan], [None], "cat" * 999]
