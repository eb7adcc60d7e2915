"""Atomic writes: whole or not at all, and nothing else changed."""

import os
import time

import pytest

from xprnn.storage import STALE_SECONDS, write_atomically


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


def test_what_a_killed_process_left_is_removed(tmp_path):
    stale, fresh = tmp_path / ".file.0123.tmp", tmp_path / ".file.4567.tmp"
    for left in (stale, fresh):
        left.write_bytes(b"half")
    old = time.time() - STALE_SECONDS - 60
    os.utime(stale, (old, old))
    write_atomically(tmp_path / "file", b"new")
    assert not stale.exists()
    assert fresh.exists()
