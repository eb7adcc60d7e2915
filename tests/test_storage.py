"""Atomic writes: whole or not at all, and nothing else changed."""

import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn import storage
from xprnn.whole_files import write_atomically


def test_mode_and_links_are_kept(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe with a name")
def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="cannot write .*pipe: it is no regular file"):
        write_atomically(tmp_path / "pipe", b"new")
    assert not (tmp_path / "pipe").is_file()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write .*No space left"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


WRITER = """
import sys
from xprnn.whole_files import write_atomically
path, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
for k in range(times):
    write_atomically(path, name.encode() * 5000)
    if k == 0:
        print("begun", flush=True)
"""


def writer(path, name, times):
    program = [sys.executable, "-c", WRITER, str(path), name, str(times)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes_write_one_path(tmp_path):
    path = tmp_path / "file"
    processes = [writer(path, name, 300) for name in "abc"]
    ends = [process.communicate() for process in processes]
    assert [(process.returncode, said[1]) for process, said in zip(processes, ends, strict=True)] == [(0, "")] * 3
    content = path.read_bytes()
    assert content == content[:1] * 5000
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_is_removed_and_what_living_ones_need_is_not(tmp_path):
    path = tmp_path / "file"
    living = writer(path, "a", 600)
    for _ in range(6):
        killed = writer(path, "b", 10**9)
        killed.stdout.readline()
        killed.kill()
        killed.communicate()
    assert living.communicate()[1] == ""
    write_atomically(tmp_path / "other", b"new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "other"]


HALF = """
import os, sys
from xprnn import whole_files
os.fsync = lambda _: os.kill(os.getpid(), 9)
whole_files.write_atomically(sys.argv[1], b"half")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_loop_leaves_one_file_at_most(tmp_path):
    for _ in range(4):
        subprocess.run([sys.executable, "-c", HALF, str(tmp_path / "file")], check=False)
        assert len(list(tmp_path.iterdir())) == 1
    write_atomically(tmp_path / "file", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_files_of_others_stay(tmp_path):
    others = [".file.0123.tmp", ".xprnn-notes.tmp", "file.tmp", ".xprnn-0123456789abcdef.tmp.bak"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".xprnn-0123456789abcdef.tmp").mkdir()
    write_atomically(tmp_path / "file", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "file", ".xprnn-0123456789abcdef.tmp"])


@pytest.mark.parametrize("broken", ["os.scandir", "os.unlink", "fcntl.flock"])
def test_cleaning_never_fails_a_write(tmp_path, monkeypatch, broken):
    if broken.startswith("fcntl"):
        pytest.importorskip("fcntl")
    left = tmp_path / ".xprnn-0123456789abcdef.tmp"
    left.write_bytes(b"half")

    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(broken, fail)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert left.exists()


def test_a_temporary_file_that_is_taken_away_is_written_again(tmp_path, monkeypatch):
    """Where locks of other hosts cannot be seen."""
    replace, taken = os.replace, []

    def first_time_gone(source, target):
        if not taken:
            taken.append(source)
            os.unlink(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", first_time_gone)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == len(taken) == 1


@pytest.mark.parametrize("where", ["os.fsync", "os.replace"])
def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


def test_threads_write_one_path(tmp_path):
    path, errors = tmp_path / "file", []

    def work(content):
        try:
            for _ in range(50):
                write_atomically(path, content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(letter * 5000,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_bytes() in (b"a" * 5000, b"b" * 5000, b"c" * 5000)
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_names(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions")
def test_what_is_private_is_private_from_its_first_byte(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (seen.append(os.fstat(number).st_mode & 0o777), fsync(number)))
    write_atomically(path, b"new")
    assert seen == [0o600]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="cannot write"):
        write_atomically(tmp_path, b"new")


NAMES = st.text(max_size=3) | st.sampled_from(["__metadata__", "\ud800"]) | st.integers(0, 2)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(NAMES, st.tuples(st.sampled_from(storage.DTYPES), st.lists(st.integers(0, 3), max_size=3))),
    st.dictionaries(NAMES, PLAIN, max_size=3) | PLAIN,
    st.binary(min_size=8 * 27, max_size=8 * 27),
)
def test_what_is_written_is_read_to_the_bit_or_refused(tmp_path_factory, shapes, metadata, content):
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    arrays = {
        name: np.frombuffer(content, "uint8" if dtype == "bool" else dtype)[: math.prod(shape)]
        .astype(dtype)
        .reshape(shape)
        for name, (dtype, shape) in shapes.items()
    }
    problem = None
    try:
        storage.write_tensors(path, arrays, metadata)
    except TypeError as error:
        problem = str(error)
    if problem is not None:
        assert problem.startswith("write_tensors: ")
        assert not path.exists()
        return
    found, told = storage.read_tensors(path)
    assert told == metadata
    for read in found, {} if any(a.dtype == "float16" for a in arrays.values()) else storage.load_weights(path):
        assert {*read} <= {*arrays}
        for name, array in read.items():
            assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape)
            assert array.tobytes() == arrays[name].tobytes()
    assert {*found} == {*arrays}
