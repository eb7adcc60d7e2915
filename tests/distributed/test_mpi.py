"""Ranks that are processes, by mpiexec: the same bits as threads, and what a person sees when something happens."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import xprnn
from xprnn.distributed import in_threads

pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI library")
HERE, ROOT = Path(__file__).parent, Path(xprnn.__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
if MPIEXEC is None:
    pytest.skip("needs mpiexec", allow_module_level=True)


def start(what, path):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [MPIEXEC, "-n", "2", sys.executable, str(HERE.parent / "rank_script.py"), what, str(path)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("what", "dtype", "wire"), [("slow", "float64", "float32"), ("narrow", "float32", "bfloat16")])
def test_processes_are_threads_and_a_slow_one_is_waited_for(what, dtype, wire, tmp_path, monkeypatch):
    from rank_script import train

    monkeypatch.setattr("xprnn.train.sums.BUCKET", 4)
    job = start(what, tmp_path / "processes")
    out, err = job.communicate()
    assert job.returncode == 0, err
    assert [out.strip()] * 2 == [
        found.hex() for found in in_threads(lambda ranks: train(ranks, tmp_path / "threads", dtype), 2, wire=wire)
    ]
    assert (tmp_path / "processes").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "words", "checkpoint"),
    [
        ("raises", "rank 1 of 2 ends all ranks, since it has raised:", True),
        ("late", "rank 1 of 2 ends all ranks, since it has raised:", False),
        ("killed", "", True),
        ("full", "File too large", False),
    ],
)
def test_nobody_is_left_waiting(what, words, checkpoint, tmp_path):
    job = start(what, tmp_path / "run")
    _, err = job.communicate()
    assert job.returncode != 0
    assert words in err
    assert {"raises": "ValueError: in a callback", "late": "ValueError: beside fit"}.get(what, "") in err
    assert [path.name for path in tmp_path.iterdir()] == ["run"] * checkpoint  # whole, and nothing beside it


@pytest.mark.slow
def test_an_interrupt_ends_all(tmp_path):
    job = start("interrupted", tmp_path / "run")
    assert job.stdout.readline() == "ready\n"  # rank 1 sleeps, and rank 0 waits for it within MPI
    job.send_signal(signal.SIGINT)
    job.communicate()
    assert job.returncode != 0
