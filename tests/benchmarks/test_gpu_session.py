"""Both calls of benchmarks/gpu/session.py, on a device and in a time that are made up."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from gpu_benchmark import FOLDER, Clock, Device, gpu

__all__ = ["gpu"]

FILES = {"gpu-toy-gpu-1.jsonl", "gpu-toy-gpu-1.md"}


class Rehearsal:
    """What a session starts, in no time: run.py in this process, and everything else as seconds that pass."""

    def __init__(self, gpu, out, device=None, tests=100.0):
        self.gpu, self.out, self.clock, self.commands, self.tests = gpu, out, Clock(), [], tests
        self.device = device or Device(self.clock)
        self.device.clock = self.clock

    def execute(self, command):
        """As ``timeout`` would: for so long at the most."""
        assert command[:5] == ["timeout", "-s", "INT", "-k", "10"]
        limit, work = float(command[5]), command[6:]
        start = self.clock.now
        self.commands.append((work, start, limit))
        if work[1:3] == ["-m", "benchmarks.gpu.run"]:
            status = self.gpu.main(work[3:], worker=self.device, clock=self.clock)
            assert self.clock.now - start <= limit, "it would have been ended, and not have ended"
            return status
        took = {"nvidia-smi": 1.0, "compute-sanitizer": 70.0}.get(work[0], self.tests)
        self.clock.now += min(took, limit)
        return 124 if took > limit else 0

    def __call__(self, call):
        from benchmarks.gpu import session as gpu_session

        start = self.clock.now
        gpu_session.run(call, self.out, self.execute, self.clock)
        return self.clock.now - start


@pytest.fixture
def rehearse(gpu, monkeypatch, tmp_path):
    from benchmarks.gpu import compile as gpu_compile

    def make(device=None, **options):
        made = Rehearsal(gpu, tmp_path / "out", device, **options)

        def ahead(rows, processes, seconds, root):
            made.clock.now += min(seconds, 15.0)
            return "compiled"

        monkeypatch.setattr(gpu_compile, "ahead", ahead)
        return made

    return make


def kinds(keys):
    """What was asked, without repeats of the same kind."""
    names = [re.search(r"what=(\w+)(?: name=([\w, ]+?)(?: precision|$))?", key).groups() for key in keys]
    return list(dict.fromkeys(f"{what} {name}" if name else what for what, name in names))


def test_the_first_call(gpu, rehearse, capsys):
    session = rehearse()
    assert session(1) <= 260
    assert kinds(session.device.asked) == ["micro preflight", "check", "micro barrier", "micro launch", "grid"]
    checks, first = gpu.gpu_rows.parts()["checks"], gpu.gpu_rows.parts()["first"]
    assert session.device.asked[1 : 1 + len(checks)] == [gpu.key(row) for row in checks]
    assert session.device.asked[-26:] == [gpu.key(row) for row in first]
    limits = zip(session.device.asked, session.device.limits, strict=True)
    assert all(limit <= 15 for key, limit in limits if "check" in key)
    assert {path.name for path in session.out.iterdir()} == FILES
    said = capsys.readouterr().out
    assert said.index("== the device") < said.index("== right, and how fast") < said.index("# Toy GPU (1)")


def test_the_second_call_measures_what_the_first_did_not(gpu, rehearse):
    session = rehearse()
    session(1)
    first, before = set(session.device.asked), len(session.device.asked)
    session.commands.clear()
    assert session(2) <= 420
    asked = session.device.asked[before:]
    assert not first & set(asked)
    assert len(set(asked)) == len(asked)
    telling = lambda word: word in ("pytest", "--tune") or "--part" in word
    named = [next(filter(telling, work)) for work, *_ in session.commands]
    assert [re.sub(":.*", "", name) for name in named[:4]] == ["pytest", "--part=rest", "--tune", "--part=last"]
    assert [work[0] for work, *_ in session.commands[4:]] in ([], ["compute-sanitizer"])  # if time is left
    assert kinds(asked)[:3] == ["grid", "tune", "train characters"]
    limits = [limit for *_, limit in session.commands]
    assert limits[:3] == [100, 170, 80]  # and ten seconds more for those that do not listen
    plans = {name.replace("gpu-", "gpu-tune-", 1) for name in FILES}
    assert {path.name for path in session.out.iterdir()} == FILES | plans


def test_what_is_quick_leaves_its_time_to_the_last(rehearse, capsys):
    session = rehearse(tests=20.0)
    session(1)
    assert session(2) <= 420
    assert session.commands[-1][0][0] == "compute-sanitizer"
    assert "left out" not in capsys.readouterr().out


def test_tests_that_hang_and_a_device_that_does_keep_nothing_from_being_in_time(gpu, rehearse, capsys):
    class Hanging(Device):
        HANGS = ("cuda-persistent",)

    session = rehearse(Hanging(Clock()), tests=1e9)
    assert session(1) <= 260
    assert session(2) <= 420
    assert "== ended with 124" in capsys.readouterr().out
    rows = gpu.measured(session.out / "gpu-toy-gpu-1.jsonl", "this code")
    assert [row["hung"] for row in rows if "hung" in row] == ["cuda-persistent"] * 2 * 2  # twice in each call


class Killed(Device):
    """After so many rows everything is killed, without a chance to write."""

    def __init__(self, clock, after):
        super().__init__(clock)
        self.after = after

    def ask(self, task, limit):
        if len(self.asked) == self.after:
            raise KilledError
        return super().ask(task, limit)


class KilledError(BaseException):
    """SIGKILL, as far as this process can have it."""


@pytest.mark.parametrize("after", [1, 30, 60, 70])
def test_a_kill_in_the_middle_costs_one_row(gpu, rehearse, monkeypatch, after):
    whole = rehearse()
    whole(1)
    everything = whole.device.asked
    shutil.rmtree(whole.out)
    killed = rehearse(Killed(Clock(), after))
    with monkeypatch.context() as patch:
        patch.setattr(gpu.Report, "write", lambda self: "")  # nor is a table written
        with pytest.raises(KilledError):
            killed(1)
    lines = killed.out / "gpu-toy-gpu-1.jsonl"
    assert len(gpu.measured(lines, "this code")) == after
    with lines.open("a") as file:
        file.write('{"what": "grid", "cell": "LS')  # a line that was not finished
    again = rehearse()
    again(1)
    assert again.device.asked == everything[after:]
    assert [gpu.key(row) for row in gpu.measured(lines, "this code")] == everything
    assert (killed.out / "gpu-toy-gpu-1.md").exists()


def test_at_most_eight_files_come_back(gpu, rehearse):
    """Rows and tables of the grid and of plans, a report of the tests, kernels, and the log."""
    session = rehearse()
    session(1)
    session(2)
    script = (FOLDER / "session.sh").read_text()
    others = set(re.findall(r'"\$out/([^"]+)"', script)) | {"tests.xml"}
    assert others == {"cache.tar.gz", "gpu-session-$call.log", "tests.xml"}
    assert len(list(session.out.iterdir())) + len(others) <= 8


def test_tests_that_are_ended_say_what_failed(gpu, tmp_path):
    from benchmarks.gpu import session as gpu_session

    command = gpu_session.tests(tmp_path, "python")
    assert "--tb=short" in command
    assert f"--junitxml={tmp_path / 'tests.xml'}" in command


SLOW = """
import pathlib, time

def test_fails():
    assert 1 == 2

def test_hangs():
    pathlib.Path(__file__).with_name("ready").touch()
    time.sleep(600)
"""


@pytest.mark.skipif(shutil.which("timeout") is None or os.name != "posix", reason="needs timeout")
def test_the_signal_of_a_session_lets_pytest_report(gpu, request, tmp_path):
    """It is ended when its second test has begun, as ``timeout -s INT`` ends it, wherever all this runs."""
    from benchmarks.gpu import session

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    session.heed_interrupts()
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (tmp_path / "test_slow.py").write_text(SLOW)
    report = tmp_path / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", f"--junitxml={report}", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, str(tmp_path)], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[0]
    assert "assert 1 == 2" in said
    assert "1 failed" in said
    assert 'name="test_fails"' in report.read_text()


def test_the_memory_checker_sees_arrays_and_not_a_pool(gpu, monkeypatch):
    from benchmarks.gpu import session as gpu_session

    command = gpu_session.memory("python")
    assert command[command.index("benchmarks.gpu.no_pool") - 1] == "-p"
    allocators = []
    cupy = SimpleNamespace(cuda=SimpleNamespace(set_allocator=allocators.append))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.delitem(sys.modules, "benchmarks.gpu.no_pool", raising=False)
    importlib.import_module("benchmarks.gpu.no_pool")
    assert allocators == [None]
    sys.modules.pop("benchmarks.gpu.no_pool")


PYTHON = """#!/bin/sh
echo "python $*" "path $PYTHONPATH"
ls "$CUPY_CACHE_DIR"
touch "$CUPY_CACHE_DIR/new"
"""


@pytest.mark.skipif(shutil.which("timeout") is None or shutil.which("tar") is None, reason="needs a POSIX system")
def test_the_script_brings_what_an_earlier_call_left(gpu, tmp_path):
    (tmp_path / "benchmarks" / "gpu").mkdir(parents=True)
    script = tmp_path / "benchmarks" / "gpu" / "session.sh"
    script.write_bytes((FOLDER / script.name).read_bytes())
    carried, out, python = tmp_path / ".gpu", tmp_path / "out", tmp_path / "python"
    (carried / "cupy").mkdir(parents=True)
    (carried / "cupy" / "old.cubin").write_text("")
    subprocess.run(["tar", "-czf", "cache.tar.gz", "cupy"], cwd=carried, check=True)
    (carried / "some-1.whl").write_text("")
    python.write_text(PYTHON)
    python.chmod(0o755)
    wanted = {"OUT": str(out), "PYTHON": str(python)}
    done = subprocess.run(
        ["bash", str(script), "2"], env=os.environ | wanted, capture_output=True, text=True, check=True
    )
    assert done.stdout == (out / "gpu-session-2.log").read_text()
    for part in (f"python -m benchmarks.gpu.session 2 {out} path {carried / 'some-1.whl'}:", "old.cubin"):
        assert part in done.stdout, part
    listed = subprocess.run(["tar", "-tzf", str(out / "cache.tar.gz")], capture_output=True, text=True, check=True)
    assert {"cupy/old.cubin", "cupy/new"} <= set(listed.stdout.split())
