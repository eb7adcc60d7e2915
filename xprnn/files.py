"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Put content at a path; whatever fails, what was there before stays.

    Writes a temporary file in the same folder, flushes it to the disk and moves it into place.

    Raises OSError where the folder is missing or cannot be written to, or the disk is full; the temporary file is gone.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()
