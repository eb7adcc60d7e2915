"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

WINDOWS = os.name == "nt"  # where nobody can remove what is open, nor its owner move it
if not WINDOWS:
    import fcntl

Path_ = str | PathLike[str]
TEMPORARY = re.compile(r"\.xprnn-[0-9a-f]{16}\.tmp")


def checked_path(path: Any) -> Path_:
    """A path. Raises TypeError for anything else: a number would be some open file of the process."""
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"the path is a {type(path).__name__}; expected a str or a path such as pathlib.Path")
    return path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Put content at a path; whatever fails or interrupts, what was there before stays.

    Writes a temporary file in the same folder, flushes it to the disk and moves it into place. Any number of processes
    may write to one path: one of the contents is there, whole. What killed ones have left in the folder is removed.

    Raises OSError where the folder is missing or cannot be written to, the disk is full, or the path is that of a
    folder or a device; the temporary file is gone.
    """
    target = Path(os.path.realpath(checked_path(path)))  # of a link, what it points to
    try:
        mode = _mode(target)
        _remove_left_behind(target.parent)
        while not _written(target, content, mode):
            pass
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror or error}") from error


def _mode(target: Path) -> int | None:
    """The permissions of a file; None where there is none yet."""
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found):
        raise OSError(errno.EINVAL, "it is no regular file")
    return stat.S_IMODE(found)


def _written(target: Path, content: bytes, mode: int | None) -> bool:
    """Write a temporary file and move it into place; False where another process took it for left behind."""
    temporary = target.with_name(f".xprnn-{secrets.token_hex(8)}.tmp")

    def private(name: str, flags: int) -> int:  # nobody may read it who may not read the target
        return os.open(name, flags, 0o666 if mode is None else 0o600)

    try:
        with open(temporary, "xb", opener=private) as file:
            _lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if not WINDOWS:  # held up to its end
                return _moved(temporary, target, mode)
        return _moved(temporary, target, mode)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _moved(temporary: Path, target: Path, mode: int | None) -> bool:
    try:
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, target)
    except FileNotFoundError:  # where it is the folder that is gone, the next try says so
        return False
    return True


def _remove_left_behind(folder: Path) -> None:
    """Remove the temporary files of writers that are no more; a living one holds a lock on its own.

    Locks are let go by the system whatever becomes of a process, at once, and are seen by other hosts wherever the file
    system knows of locks at all. Nothing that fails here matters.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "r+b") as file:  # NFS locks only what may be written
                    if _lock(file):
                        os.unlink(entry.path)


def _lock(file: BinaryIO) -> bool:
    """Whether the file is now this process's own, until it is closed."""
    if WINDOWS:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
