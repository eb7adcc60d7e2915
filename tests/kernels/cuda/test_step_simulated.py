"""Runs step_in_simulator.py: the simulator must be chosen before Numba is imported, so in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

BARE = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]  # one process is enough


def test_step_path_in_the_simulator():
    path = Path(__file__).with_name("step_in_simulator.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *BARE, str(path)],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        cwd=path.parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
