"""Machine code that is kept on disk between processes: used where it is whole, made anew where it is not."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from llvmlite import binding
from numba.core.serialize import dumps

from .copied import rebuilt

try:
    import fcntl
except ImportError:  # Windows: processes that start at once compile the same, and nothing is lost but time
    fcntl = None  # type: ignore[assignment]

DIGEST = hashlib.sha256().digest_size
NAMES = 8
PATIENCE = 60.0  # seconds; most functions take less than one, those of many others some ten


class KeptCode:
    """The cache of one function, in the place of Numba's own, which believes what it reads.

    A file for each signature: a SHA-256, and a pickle of its own name, the signature and the machine code. Damaged or
    another's machine code would end the process or compute something else, so nothing is looked at whose checksum is
    wrong, and nothing used that was written under another name. Whatever cannot be read is compiled and replaced; what
    cannot be written stays in memory, and one warning says so.

    Machine code of a ``shared`` function is called by that of its callers, which do not hold a copy of it; files of
    theirs name its file, which is read first. What is compiled ``within`` a kernel, for that alone, has other files.
    """

    def __init__(self, function: Callable[..., Any], folder: Path, shared: bool = False, within: bool = False) -> None:
        place = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"
        self._name = re.sub(r"\W+", "-", f"{place}.{function.__code__.co_firstlineno}")
        self._made_of = _made_of(function)
        self._folder, self._shared, self._within, self._enabled = folder, shared, within, True

    @property
    def cache_path(self) -> str:
        """Where the files are."""
        return str(self._folder)

    def enable(self) -> None:
        """Read and write again."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write."""
        self._enabled = False

    def flush(self) -> None:
        """Forget what is kept of this function."""
        for path in self._folder.glob(f"{self._name}-*.code"):
            path.unlink(missing_ok=True)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What was compiled for a signature; None where it is not there, or not whole."""
        target.refresh()
        if not self._enabled:
            return None
        try:
            key = self._key(signature, target.codegen())
            return _read(self._path(key), target, key)
        except Exception:  # whatever it is, compiling is the answer
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled for a signature."""
        if not self._enabled or result.lifted or result.library.has_dynamic_globals:  # addresses of this process
            return
        key = self._key(signature, result.codegen)
        path = self._path(key)
        content = dumps((path.name, key, self._shared, _calls(result), result._reduce()))
        try:
            _replace(path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            _warn(self._folder, error.strerror or str(error))
        if self._shared:
            _share(path, key, result)

    @contextmanager
    def turn(self, signature: Any, target: Any) -> Iterator[bool]:
        """A block in which a function is compiled; whether another process did so meanwhile, or tried to.

        Processes that start at once need the same functions. Who comes later waits, and reads what was made. It holds
        only functions that call this one, so no two wait for each other.
        """
        path = self._path(self._key(signature, target.codegen()))
        with _held(path.with_suffix(".lock")) if self._enabled else nullcontext(False) as waited:
            yield waited

    def _key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        return signature, codegen.magic_tuple(), self._made_of, self._within

    def _path(self, key: tuple[Any, ...]) -> Path:
        """Its name says what is in it only as far as a name can: the key inside decides."""
        return self._folder / f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.code"


_shared: dict[Path, tuple[Any, Any]] = {}
"""Keys and results of what this process has of shared functions, by where they are kept."""


def _share(path: Path, key: Any, result: Any) -> None:
    """Let callers that are compiled from now on call a result where it is: of what they would copy, nothing is left."""
    result.library._shared_module = binding.parse_assembly("")
    _shared[path] = key, result


def _calls(result: Any) -> list[str]:
    """The names of the files of all shared functions that a result calls."""
    paths = {shared.fndesc.llvm_func_name: path.name for path, (_, shared) in _shared.items()}
    functions = result.library._final_module.functions
    return [paths[function.name] for function in functions if function.is_declaration and function.name in paths]


def _read(path: Path, target: Any, expected: Any = None) -> Any:
    """The result in a file, with what it calls, if its key is as expected or nothing is; None where it is not whole."""
    if path in _shared:
        key, result = _shared[path]
        return result if expected in (None, key) else None
    content = path.read_bytes()
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    written_as, key, shared, calls, parts = pickle.loads(content[DIGEST:])
    if written_as != path.name or expected not in (None, key):
        return None
    if any(_read(path.with_name(name), target) is None for name in calls):
        return None
    result = rebuilt(target, parts)
    if shared:
        _share(path, key, result)
    return result


def _made_of(function: Callable[..., Any]) -> bytes:
    """A digest of a function's own code; what it calls must be in the folder's name."""
    code = function.__code__
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    digest = hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode())
    if function.__closure__:
        digest.update(dumps(tuple(cell.cell_contents for cell in function.__closure__)))
    return digest.digest()


def _replace(path: Path, content: bytes) -> None:
    """Move a whole file into place.

    There are few names for temporary files, so that processes that are killed over and over do not fill the disk.
    Should two processes write to one, the checksum tells, or one of them finds it moved, as it would have done itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid() % NAMES}.tmp")
    try:
        temporary.write_bytes(content)
        with suppress(FileNotFoundError):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """A block in which this process alone has a file, which is gone afterwards; whether it had to wait for it.

    The system lets go of what a process held that has died. One that stands still is not waited for without an end, and
    where nothing can be written, or held, nobody waits.
    """
    file = None
    if fcntl is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_CREAT | os.O_RDWR)
    if file is None:
        yield False
        return
    waited, mine, end = False, _taken(file), time.monotonic() + PATIENCE
    try:
        while not mine and time.monotonic() < end:
            time.sleep(0.02)
            waited, mine = True, _taken(file)
        yield waited
    finally:
        with suppress(OSError):  # who had it before took it away
            if mine:
                path.unlink()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file, too
        os.close(file)


def _taken(file: int) -> bool:
    """Whether this process has a file now, or cannot be told that another has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # as on some file systems of networks
        pass
    return True


@cache  # once for each folder
def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"compiled kernels cannot be kept in {folder} ({reason}): each process compiles them anew, which takes "
        "seconds; name a folder that can be written to in NUMBA_CACHE_DIR",
        RuntimeWarning,
        stacklevel=2,
    )
