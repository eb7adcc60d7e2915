"""What the first use of a layer compiles: few functions, each of them once. Counts are the same on every machine."""

import os
import subprocess
import sys
from collections import Counter

import pytest

numba = pytest.importorskip("numba")
if numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled", allow_module_level=True)

FIRST_USES = """
import numpy as np
from xprnn import nn
from xprnn.kernels.cpu import compiling


def tell():
    print(*sorted(path.name.rsplit("-", 2)[0] for path in compiling.cache_folder().glob("*.code")))


layer, x = nn.LSTM(4, 8, rng=0), np.zeros((5, 3, 4), "float32")
y, _ = layer(x)
tell()
layer(x)[0].sum().backward()
tell()
layer.stream().step(x[0, :1])
tell()
nn.GRU(4, 8, rng=0)(x)
tell()
"""
MOST = {"inference": 24, "training": 23, "a stream": 11, "a GRU": 3}  # functions that each adds to those before
OTHER_CELLS = (
    "exponential",
    "norm_gates",
    "general_gates",
    "candidates-share",
    "gates-_leak",
    "gates-_tanh",
    "lstm_gates-peephole",
)


@pytest.mark.slow
def test_a_first_use_compiles_few_functions_and_only_its_own_cell(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1"}
    environment |= {"NUMBA_OPT": "0"}  # the same functions, in half of the time
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USES], env=environment, capture_output=True, text=True, check=True
    )
    before = Counter()
    for (use, most), line in zip(MOST.items(), done.stdout.splitlines(), strict=True):
        made = Counter(line.split())
        new = sorted((made - before).elements())
        assert len(new) <= most, f"{use} compiles {len(new)} functions: {new}"
        assert not [name for name in new if name.startswith(OTHER_CELLS)]
        assert {name for name, count in made.items() if count > 1} <= {"gates-step"}  # once for each cell
        before = made
