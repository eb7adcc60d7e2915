"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import time
from pathlib import Path

STALE_SECONDS = 3600.0


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Put content at a path; whatever fails, what was there before stays.

    Writes a temporary file in the same folder, flushes it to the disk and moves it into place.

    Raises OSError where the folder is missing or cannot be written to, the disk is full, or the path is that of a
    folder or a device; the temporary file is gone.
    """
    target = Path(os.path.realpath(path))  # of a link, what it points to
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OSError(errno.EINVAL, f"cannot write {target}: it is no regular file")
    mode = target.stat().st_mode if target.exists() else None
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):  # of a process that was killed
        if time.time() - stale.stat().st_mtime > STALE_SECONDS:
            stale.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()
