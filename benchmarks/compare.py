"""What got slower between two result files of cpu.py: ``python benchmarks/compare.py OLD.json NEW.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cpu import ratio


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A line for each row whose ratio to the best peer fell by more than the spreads of both runs explain."""
    before = {(r["cell"], tuple(r["shape"]), r["mode"]): r for r in old["rows"]}
    lines = []
    for row in new["rows"]:
        earlier = before.get((row["cell"], tuple(row["shape"]), row["mode"]))
        if earlier is None:
            continue
        noise = 0.05 + 2 * (earlier["spread"]["xprnn"] + row["spread"]["xprnn"])
        if ratio(row) < ratio(earlier) * (1 - noise):
            shape = ",".join(map(str, row["shape"]))
            lines.append(f"{row['mode']} {row['cell']} {shape}: ratio {ratio(earlier):.2f} -> {ratio(row):.2f}")
    return lines


def main() -> int:
    """Print what got slower; the exit status says whether anything did."""
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    old, new = (json.loads(Path(path).read_text()) for path in sys.argv[1:])
    lines = changes(old, new)
    print("\n".join(lines) or "nothing got slower beyond the noise")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
