"""Seconds until a program may begin: `import xprnn`, beside NumPy alone and PyTorch, each in a process of its own.

python benchmarks/imports.py [--rounds 15]
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "numpy": "import numpy",
    "xprnn": "import xprnn",
    "xprnn, its first layer": "import xprnn; xprnn.nn.LSTM(2, 3)",
    "torch": "import torch",
}


def seconds(program: str) -> float:
    """Of one run, from the first line on, so that starting Python counts for nobody."""
    code = f"import time; start = time.perf_counter(); {program}; print(time.perf_counter() - start)"
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": python_path}
    return float(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    programs = {name: code for name, code in PROGRAMS.items() if name != "torch" or importlib.util.find_spec("torch")}
    for code in programs.values():
        seconds(code)  # writes the bytecode
    found = {name: [] for name in programs}
    for _ in range(rounds):  # in turn, so that a slow minute meets all of them
        for name, code in programs.items():
            found[name].append(seconds(code))
    print(f"{'':24}{'median s':>10}{'least':>10}{'over numpy':>12}")
    numpy = statistics.median(found["numpy"])
    for name, times in found.items():
        median = statistics.median(times)
        print(f"{name:24}{median:10.3f}{min(times):10.3f}{median - numpy:12.3f}")


if __name__ == "__main__":
    main()
