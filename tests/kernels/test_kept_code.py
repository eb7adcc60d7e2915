"""Machine code on disk: whatever its files hold, results are right; what cannot be kept is compiled each time."""

import gc
import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from xprnn.kernels.cpu import compiling, kept_code  # noqa: E402

fcntl = kept_code.fcntl

if numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled", allow_module_level=True)


def scale_of(factor):
    def scale(x):
        total = 0.0
        for k in range(len(x)):
            total += factor * x[k]
        return total

    return scale


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path / "kept")
    kept_code._warn.cache_clear()
    return tmp_path / "kept"


def run(factor=2.0):
    """(result, whether it was read from disk), of a function that this process has not compiled."""
    function = compiling.kernel(scale_of(factor))
    result = function(np.arange(4.0))
    return result, bool(sum(function.stats.cache_hits.values()))


def silent(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


def test_what_is_kept_is_used(folder):
    assert silent(run) == (12.0, False)
    assert len(list(folder.iterdir())) == 1
    assert silent(run) == (12.0, True)
    assert silent(lambda: run(3.0)) == (18.0, False)  # another closure
    assert silent(run) == (12.0, True)


def test_every_kind_of_damage_is_mended(folder):
    run()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    draws = np.random.default_rng(0)
    places = [0, 31, 32, len(whole) - 1, *draws.integers(0, len(whole), 12).tolist()]
    flipped = [whole[:k] + bytes([whole[k] ^ (1 << int(draws.integers(8)))]) + whole[k + 1 :] for k in places]
    for content in (*flipped, b"", whole[:20], whole[:-1], whole + b"\0", os.urandom(100)):
        path.write_bytes(content)
        assert silent(run) == (12.0, False)
        assert silent(run) == (12.0, True)  # it was replaced
    assert list(folder.iterdir()) == [path]


def test_a_right_checksum_of_something_else(folder):
    run()
    (path,) = folder.iterdir()
    for content in (b"", b"no pickle", b"cno_such_module\nthing\n.", pickle.dumps(3), pickle.dumps(((1, 2, 3), ()))):
        path.write_bytes(hashlib.sha256(content).digest() + content)
        assert silent(run) == (12.0, False)
        assert silent(run) == (12.0, True)


def test_another_function_behind_the_name_is_not_taken(folder):
    run(3.0)
    (other,) = folder.iterdir()
    run(2.0)
    (path,) = set(folder.iterdir()) - {other}
    path.write_bytes(other.read_bytes())
    assert run(2.0) == (12.0, False)


@pytest.mark.parametrize("broken", ["no folder", "full", "a folder in its place"])
def test_what_cannot_be_written_is_kept_in_memory_and_said_once(folder, monkeypatch, broken):
    if broken == "no folder":
        folder.write_text("a file")
    elif broken == "full":

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
    else:
        run()
        (path,) = folder.iterdir()
        path.unlink()
        path.mkdir()
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*kept \(.+NUMBA_CACHE_DIR") as said:
        assert [run(), run()] == [(12.0, False)] * 2
    assert len(said) == 1
    assert not [path for path in folder.glob("*") if path.is_file()]


def test_processes_that_are_killed_over_and_over_leave_few_files(folder, monkeypatch):
    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    monkeypatch.setattr(os, "replace", kill)
    monkeypatch.setattr("pathlib.Path.unlink", kill)
    for process in range(1000, 1100):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        with pytest.raises(KilledError):
            kept_code._replace(folder / "one.code", b"half")
    assert len(list(folder.iterdir())) == kept_code.NAMES


def test_a_folder_that_can_only_be_read_is_read(folder, monkeypatch):
    run()

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    for name in ("mkdir", "write_bytes"):
        monkeypatch.setattr(f"pathlib.Path.{name}", denied)
    assert silent(run) == (12.0, True)


class Other:
    """Another process that compiles the function, as far as this one can see: it has opened and locked that file."""

    def __init__(self, path):
        path.parent.mkdir(exist_ok=True)
        self.file = path.open("wb")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def end(self):
        self.file.close()


@pytest.fixture
def other(folder):
    """The other process, and what it is about to write, where this one has nothing yet."""
    run()
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.unlink()
    return Other(path.with_suffix(".lock")), path, content


@pytest.mark.skipif(fcntl is None, reason="no process can hold a file")
@pytest.mark.parametrize("whole", [True, False])
def test_what_another_process_compiles_is_waited_for(folder, other, whole, monkeypatch):
    process, path, content = other
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            path.write_bytes(content if whole else content[:-1])
            process.end()

    monkeypatch.setattr(kept_code, "time", SimpleNamespace(sleep=nap, monotonic=lambda: 0.0))
    assert silent(run) == (12.0, whole)
    assert len(naps) == 3
    assert list(folder.iterdir()) == [path]


@pytest.mark.skipif(fcntl is None, reason="no process can hold a file")
def test_nobody_waits_for_a_process_that_has_died_or_for_ever_for_one_that_stands_still(folder, other, monkeypatch):
    process, path, _ = other
    naps = []
    clock = SimpleNamespace(sleep=naps.append, monotonic=lambda: 10.0 * len(naps))
    monkeypatch.setattr(kept_code, "time", clock)
    assert silent(run) == (12.0, False)
    assert len(naps) == kept_code.PATIENCE / 10.0
    assert path.with_suffix(".lock").exists()  # which is the other's
    path.unlink()
    process.end()
    assert silent(run) == (12.0, False)
    assert len(naps) == kept_code.PATIENCE / 10.0
    assert list(folder.iterdir()) == [path]


@pytest.mark.skipif(fcntl is None, reason="no process can hold a file")
def test_a_file_that_is_gone_is_let_go_of_too(tmp_path, monkeypatch):
    path = tmp_path / "function.lock"
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", lambda file: None)  # as if a child that was forked meanwhile had it open
        with kept_code._held(path):
            waiting = path.open("rb")
            path.unlink()
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_files_cannot_be_locked_nobody_waits(folder, monkeypatch):
    def unable(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(kept_code, "fcntl", SimpleNamespace(flock=unable, LOCK_EX=2, LOCK_NB=4, LOCK_UN=8))
    assert silent(run) == (12.0, False)
    monkeypatch.setattr(kept_code, "fcntl", None)
    assert silent(lambda: run(3.0)) == (18.0, False)
    assert {path.suffix for path in folder.iterdir()} == {".code"}


called = None  # by each run's own compiler


def doubled(x, k):
    x[k] *= 2.0


def all_doubled(x):
    for k in range(len(x)):
        called(x, k)


def run_caller(monkeypatch):
    """The same of a function that calls a shared one, in what for both is a new process."""
    monkeypatch.setattr(kept_code, "_shared", {})
    monkeypatch.setitem(globals(), "called", compiling.shared_kernel(doubled))
    caller, x = compiling.kernel(all_doubled), np.arange(4.0)
    caller(x)
    assert x.tolist() == [0.0, 2.0, 4.0, 6.0]
    return bool(sum(caller.stats.cache_hits.values()))


def test_a_caller_is_used_only_with_what_it_calls(folder, monkeypatch):
    assert not silent(lambda: run_caller(monkeypatch))
    files = set(folder.iterdir())
    assert silent(lambda: run_caller(monkeypatch))
    (path,) = (path for path in files if "-doubled-" in path.name)
    for damage in (path.unlink, lambda: path.write_bytes(path.read_bytes()[:-1])):
        damage()
        assert not silent(lambda: run_caller(monkeypatch))
        assert silent(lambda: run_caller(monkeypatch))  # it was replaced
    assert set(folder.iterdir()) == files


def test_another_function_behind_the_name_of_what_is_called_is_not_taken(folder, monkeypatch):
    run()
    (other,) = folder.iterdir()
    run_caller(monkeypatch)
    (path,) = folder.glob("*-doubled-*")
    path.write_bytes(other.read_bytes())
    assert not silent(lambda: run_caller(monkeypatch))
    assert silent(lambda: run_caller(monkeypatch))


def test_where_nothing_can_be_kept_a_shared_function_is_called_all_the_same(folder, monkeypatch):
    monkeypatch.setattr(compiling, "cache_folder", lambda: None)
    assert not silent(lambda: run_caller(monkeypatch))
    assert not folder.exists()


def refused(x, k):
    if x[k] > 2.0:
        raise ValueError("too large, at", k)
    x[k] *= 2.0


def run_callee(monkeypatch):
    """A function that a kernel copies, which raises, and then Python calls, in what is a new process for it."""
    monkeypatch.setitem(globals(), "called", compiling.kernel(refused))
    caller, x = compiling.kernel(all_doubled), np.arange(4.0)
    with pytest.raises(ValueError, match=r"\('too large, at', 3\)"):
        caller(x)
    assert x.tolist() == [0.0, 2.0, 4.0, 3.0]
    hits = [dict(called.stats.cache_hits)]
    called(x, 0)
    with pytest.raises(ValueError, match=r"\('too large, at', 2\)"):
        called(x, 2)
    x[2:] = 0.0
    caller(x)
    assert x.tolist() == [0.0, 4.0, 0.0, 0.0]
    return [bool(sum(found.values())) for found in (caller.stats.cache_hits, *hits, called.stats.cache_hits)]


def test_what_only_kernels_called_can_be_called_by_python_too(folder, monkeypatch):
    assert silent(lambda: run_callee(monkeypatch)) == [False, False, False]
    files = set(folder.iterdir())
    assert len(files) == 3
    assert silent(lambda: run_callee(monkeypatch)) == [True, False, True]  # a caller holds what it copied
    (path,) = (path for path in files if "-all_doubled-" in path.name)
    path.unlink()
    assert silent(lambda: run_callee(monkeypatch)) == [False, True, True]
    assert set(folder.iterdir()) == files


def halved(x):
    if x[0] == 0.0:
        raise ValueError("nothing to halve", 0)
    x[:] *= 0.5
    return x[0]


def run_shared(monkeypatch, within):
    """A shared function that Python calls, before or after a kernel did, in what is a new process for it."""
    monkeypatch.setattr(kept_code, "_shared", {})
    monkeypatch.setitem(globals(), "called", compiling.shared_kernel(halved))
    caller, x = compiling.kernel(all_halved), np.array([4.0, 0.0])
    if within:
        assert caller(x.copy()) == 2.0
    assert called(x) == 2.0
    with pytest.raises(ValueError, match=r"\('nothing to halve', 0\)"):
        called(x[1:])
    assert caller(x) == 1.0
    return bool(sum(called.stats.cache_hits.values()))


def all_halved(x):
    return called(x)


@pytest.mark.parametrize("within", [False, True])
def test_of_a_shared_function_python_has_an_entry_alone(folder, monkeypatch, within):
    assert not silent(lambda: run_shared(monkeypatch, False))
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)
    assert len(files) == 3
    assert silent(lambda: run_shared(monkeypatch, within))
    for path in files:
        path.unlink()
        silent(lambda: run_shared(monkeypatch, within))
        assert set(folder.iterdir()) == set(files)


def test_flush_and_disable(folder):
    function = compiling.kernel(scale_of(2.0))
    function._cache.disable()
    function(np.arange(4.0))
    assert not folder.exists()
    run()
    function._cache.enable()
    function._cache.flush()
    assert not list(folder.iterdir())
    assert function._cache.cache_path == str(folder)


def failing(x):
    return x.no_such_thing


def test_the_garbage_collector_is_afterwards_as_it_was_before(folder):
    """It stands still while Numba compiles."""
    try:
        for turn, on in ((gc.enable, True), (gc.disable, False)):
            turn()
            run(4.0 + on)
            assert gc.isenabled() == on
            with pytest.raises(numba.TypingError):
                compiling.kernel(failing)(np.arange(4.0))
            assert gc.isenabled() == on
    finally:
        gc.enable()


def test_no_home(monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert compiling.cache_folder.__wrapped__() is None


PRODUCT = """
import warnings
warnings.simplefilter("error")
import numpy as np
from xprnn import ops
from xprnn.kernels.cpu import compiling
a, b = np.random.default_rng(0).standard_normal((2, 64, 80)).astype("float32")
np.testing.assert_allclose(ops.matmul(a, b.T).data, a @ b.T, atol=1e-4)
assert len(list(compiling.cache_folder().iterdir())) > 1
"""


@pytest.mark.slow
def test_a_damaged_cache_and_several_processes_at_once(tmp_path):
    def start():
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}  # half of the time
        return subprocess.Popen(
            [sys.executable, "-c", PRODUCT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(processes):
        for process in processes:
            assert process.communicate()[1] == ""
            assert process.returncode == 0

    finish([start()])
    files = sorted(tmp_path.rglob("*.code"))
    assert files
    draws = np.random.default_rng(0)
    kept = {path: path.read_bytes() for path in files}
    for path, content in kept.items():
        damaged = bytearray(content)
        for place in draws.integers(0, len(damaged), 5):
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)
    finish([start(), start()])
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
    for path in files:
        content = path.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]
