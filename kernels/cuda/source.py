"""The text of a kernel as one piece: what it includes stands in it, so that a digest of the text sees every edit."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
OLDEST = (7, 0)  # the first compute capability with loads and additions that order other memory accesses


@cache
def text(name: str) -> str:
    """The source file with each file that it includes in its place, once."""
    return "\n".join(expanded((HERE / name).read_text(encoding="utf-8"), set()))


def expanded(text: str, seen: set[str]) -> list[str]:
    """The lines of a text with those of each file that it includes, but for files in ``seen``, which grows."""
    lines = []
    for line in text.splitlines():
        included = re.fullmatch(r'#include "(\w+\.cuh)"', line)
        if included is None:
            lines += [] if line == "#pragma once" else [line]
        elif included[1] not in seen:
            seen.add(included[1])
            lines += expanded((HERE / included[1]).read_text(encoding="utf-8"), seen)
    return lines
