"""The scripts of the documentation for schedulers, as they stand there, on stand-ins for the schedulers' commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xprnn

pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI library")
ROOT = Path(xprnn.__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
PAGE = ROOT / "docs" / "tutorials" / "distributed.md"
if MPIEXEC is None or shutil.which("bash") is None or not PAGE.exists():
    pytest.skip("needs mpiexec, bash and the documentation", allow_module_level=True)
pytestmark = pytest.mark.slow

COMMANDS = {
    "timeout": """
shift
if [ -e stopped ]; then exec "$@"; fi
touch stopped
"$@" & job=$!
until [ -e run.safetensors ] || ! kill -0 $job 2>/dev/null; do sleep 0.05; done
kill $job
wait $job
exit 124
""",
    "srun": f'[ "$1" = --mpi=pmi2 ] && shift\nexec {MPIEXEC} -n $SLURM_NTASKS "$@"',
    "mpiexec": f'exec {MPIEXEC} -n 2 "$@"',
    "scontrol": 'echo scontrol "$@" >> requeued',
    "qrerun": 'echo qrerun "$@" >> requeued',
    "python": f'exec {sys.executable} "$@"',
    "xprnn": f'exec {sys.executable} -m xprnn.cli "$@"',
}

TRAIN = """
import time
from pathlib import Path
import numpy as np
from xprnn import nn
from xprnn.data import Batches
from xprnn.distributed import world
from xprnn.train import Adam, Callback, Checkpoint, fit, mse

class Waits(Callback):
    def on_batch_end(self, run):
        while run.epoch == 3 and not Path("going on").exists():  # until it is stopped, the first time
            time.sleep(0.05)

ranks = world()
model = nn.Linear(3, 2, dtype="float64", rng=ranks.rank)
x = np.random.default_rng(0).normal(size=(12, 3))
source = Batches(x, x[:, :2], batch_size=4, shuffle=True, rng=0)
callbacks = [Waits(), Checkpoint("run.safetensors", resume=True)]
loss = lambda m, b: mse(m(b[0]), b[1])
history = fit(model, source, loss, Adam(model.parameters()), epochs=5, callbacks=callbacks, progress=False,
              communicator=ranks)
told = f"{ranks.rank} {ranks.size} {ranks.local_rank()} {len(history)} {model.weight.numpy().tobytes().hex()}"
told = "\\n".join(ranks.gather(told))
if ranks.rank == 0:  # for all of them, whose own lines might come into each other's
    print(told)
"""


def script(scheduler):
    """The page's script."""
    scripts = re.findall(r"```\n(#!/bin/bash\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(lines for lines in scripts if f"#{scheduler} " in lines)


@pytest.fixture
def start(tmp_path):
    """Runs a script in the folder, which has the commands; what it prints, and its code."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, lines in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{lines}\n")
        (commands / name).chmod(0o755)
    (tmp_path / "train.py").write_text(TRAIN)

    def started(lines, **variables):
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **variables}
        job = subprocess.run(["bash", "-c", lines], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return job.returncode, job.stdout, job.stderr

    return started


def test_slurm(start, tmp_path):
    variables = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "1"}
    code, _, err = start(script("SBATCH"), **variables)
    assert code == 0, err  # put back into the queue
    assert (tmp_path / "requeued").read_text() == "scontrol requeue 7\n"
    (tmp_path / "going on").touch()
    code, out, err = start(script("SBATCH"), **variables)
    assert code == 0, err
    assert (tmp_path / "requeued").read_text() == "scontrol requeue 7\n"  # once
    said = sorted(line.split() for line in out.splitlines())
    assert [line[:4] for line in said] == [["0", "2", "0", "5"], ["1", "2", "1", "5"]]
    (tmp_path / "run.safetensors").unlink()
    code, out, err = start(script("SBATCH"), **variables)  # never interrupted
    assert sorted(line.split() for line in out.splitlines()) == said, err
    (tmp_path / "train.py").write_text("raise SystemExit(3)")
    assert start(script("SBATCH"), **variables)[0] == 3  # an error is no reason to begin again
    assert (tmp_path / "requeued").read_text() == "scontrol requeue 7\n"


def test_pbs_and_a_command(start, tmp_path):
    rows = [f"w{n},{(n % 2) * 2 - 1 + t / 9},{'up' if n % 2 else 'down'}" for n in range(40) for t in range(4)]
    (tmp_path / "steps.csv").write_text("\n".join(["who,x,kind", *rows]))
    lines = script("PBS").replace("--out out", "--out out --epochs 10 --hidden 4")
    variables = {"PBS_O_WORKDIR": str(tmp_path), "PBS_JOBID": "8.host"}
    code, _, err = start(lines, **variables)
    assert code == 0, err
    assert (tmp_path / "requeued").read_text() == "qrerun 8.host\n"
    code, out, err = start(lines, **variables)
    assert code == 0, err
    assert out.count("sequences held out, right:") == 1  # said by one rank
    assert err.count("32 for training and 8 for the test") == 1
    assert (tmp_path / "out" / "model.safetensors").exists()
