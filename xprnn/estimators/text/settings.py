"""The settings of a TextClassifier, checked: plain values, so that they can be written to a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from xprnn.arguments import probability, real_number, whole_number
from xprnn.backend import check_dtype
from xprnn.data.tokenizer import split_characters, split_words
from xprnn.estimators.series.network import CELLS
from xprnn.estimators.text.network import POOLINGS

Tokenizer = Callable[[str], Iterable[str]]
TOKENIZERS: dict[str, Tokenizer] = {"words": split_words, "characters": split_characters}
CHOICES: dict[str, Collection[str]] = {"cell": CELLS, "pooling": POOLINGS}
COUNTS = {"hidden": 1, "layers": 1, "min_count": 1, "epochs": 1, "patience": 1, "seed": 0}  # and the least of each
OPTIONAL = {"embedding": 1, "max_vocabulary": 3, "batch_size": 1}  # two specials and a token
ABOVE_ZERO = ("learning_rate", "clip_norm")
CHANCES = ("dropout", "word_dropout")
FINITE = sys.float_info.max


def check_settings(
    tokenizer: str | Tokenizer, validation: float, count_ratios: float, bidirectional: bool, dtype: str, **given: Any
) -> dict[str, Any]:
    """The settings by their names; the tokenizer as "custom" where it is a function. Raises ValueError."""
    owner = "TextClassifier"
    for name, known in CHOICES.items():
        if given[name] not in known:
            expected = ", ".join(map(repr, known))
            raise ValueError(f"{owner}: {name} is {given[name]!r}; expected one of {expected}")
    if not callable(tokenizer) and tokenizer not in TOKENIZERS:
        expected = ", ".join(map(repr, TOKENIZERS))
        raise ValueError(f"{owner}: tokenizer is {tokenizer!r}; expected {expected} or a function")
    if not isinstance(bidirectional, (bool, np.bool_)):  # "no" would be true
        raise ValueError(f"{owner}: bidirectional is {bidirectional!r}; expected True or False")
    optional = {name: given[name] for name in OPTIONAL}
    return {
        **{name: given[name] for name in CHOICES},
        **{name: whole_number(owner, name, given[name], least) for name, least in COUNTS.items()},
        **{name: n if n is None else whole_number(owner, name, n, OPTIONAL[name]) for name, n in optional.items()},
        **{
            name: real_number(owner, name, given[name], "a number above 0", math.ulp(0.0), FINITE)
            for name in ABOVE_ZERO
        },
        **{name: probability(owner, name, given[name]) for name in CHANCES},
        "count_ratios": real_number(owner, "count_ratios", count_ratios, "a number of at least 0", high=FINITE),
        "validation": real_number(
            owner, "validation", validation, "a share from 0 to below 1", high=math.nextafter(1.0, 0.0)
        ),
        "bidirectional": bool(bidirectional),
        "tokenizer": tokenizer if isinstance(tokenizer, str) else "custom",
        "dtype": check_dtype(dtype),
    }
