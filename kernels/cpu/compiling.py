"""How kernels are compiled, and where the result is kept between processes."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import Environment
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature
from numba.core.types.misc import unliteral

from .compilers import BriefCompiler, NamedCompiler
from .host import features
from .kept_code import KeptCode

# error_model: without it a check for zero before each division keeps loops from being vectorised.
# contract: fused multiply-add. Nothing that lets NaN or infinity be assumed away, or sums be reordered.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}, "no_cfunc_wrapper": True}
PLAIN = OPTIONS | {"fastmath": False}
SUMMING = OPTIONS | {"fastmath": {"contract", "reassoc"}}


# A child that is forked while another thread compiles has half of a function, and nobody who lets go of the compiler.
if hasattr(os, "register_at_fork"):
    _let_go = global_compiler_lock.release
    os.register_at_fork(before=global_compiler_lock.acquire, after_in_parent=_let_go, after_in_child=_let_go)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, and keep the machine code on disk where a folder can be written."""
    return _compiled(function, OPTIONS)


def plain_kernel(function: Callable[..., Any]) -> Any:
    """The same without fused multiply-adds, which LLVM may choose otherwise where a loop ends than within it.

    An element then has the same bits wherever a share of columns begins.
    """
    return _compiled(function, PLAIN)


def summing_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function that sums over a loop: its terms may be added in another order, by whole vectors."""
    return _compiled(function, SUMMING)


def inlined_kernel(function: Callable[..., Any]) -> Any:
    """The same of a function of many arguments that every step calls: it becomes part of whoever calls it."""
    return _compiled(function, OPTIONS | {"forceinline": True})


def shared_kernel(function: Callable[..., Any]) -> Any:
    """The same of a large function of several callers: its machine code is made once, and all of them call that.

    Of any other, LLVM optimises and translates a copy for each caller, and for each of theirs again.
    """
    return _compiled(function, OPTIONS | {"pipeline_class": NamedCompiler}, shared=True)


class _Kernel(CPUDispatcher):  # type: ignore[misc]
    """A function that is compiled for whoever calls it: one that only kernels call gets no entry for Python.

    The entry takes Python's arguments apart, and is as long as many a kernel. Where both call, both have their own; of
    a shared one Python has the entry alone.
    """

    _cache: Any
    shared = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._within = False  # a kernel asks for it, who holds the compiler's lock
        self._entered: dict[tuple[Any, ...], Any] = {}  # what Python may call, by signatures
        self._kept = self._cache, self._cache

    def keep(self, from_python: KeptCode, from_kernels: KeptCode) -> None:
        """Where its machine code stays between processes."""
        self._kept = from_python, from_kernels
        self._cache = from_python  # where njit(cache=True) would put Numba's

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """What callers write as 0 or False has a type of its own, of which Numba would compile everything anew."""
        args, kws = tuple(map(unliteral, args)), {name: unliteral(kind) for name, kind in kws.items()}
        return self.within(super().get_call_template, args, kws)

    def within(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call in which compiling is for kernels."""
        with global_compiler_lock:
            before, self._within = self._within, True
            try:
                return call(*arguments)
            finally:
                self._within = before

    def compile(self, sig: Any) -> Any:
        """As Numba's, and once more where Python calls what was compiled for kernels.

        Without Numba's clocks, of which there is one for each function that waits for another: every call of LLVM
        stops and starts all of them.
        """
        arguments, returned = normalize_signature(sig)
        with global_compiler_lock, self._compiling_counter:
            known = self.overloads if self._within else self._entered
            if arguments in known:
                return known[arguments].entry_point
            if self.shared and not self._within:
                self.within(self.compile, arguments)  # what its entry calls
            kept = self._kept[self._within]
            result = kept.load_overload(sig, self.targetctx)
            if result is None:
                with kept.turn(sig, self.targetctx) if isinstance(kept, KeptCode) else nullcontext(False) as waited:
                    result = kept.load_overload(sig, self.targetctx) if waited else None
                    if result is None:
                        self._cache_misses[sig] += 1
                        result = self._made(arguments, returned)
                        self.add_overload(result)
                        kept.save_overload(sig, result)
                        return result.entry_point
            self._cache_hits[sig] += 1
            self.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
            self.add_overload(result)
            return result.entry_point

    def _made(self, arguments: tuple[Any, ...], returned: Any) -> Any:
        """What is compiled of it for whoever calls it now."""
        if self.shared and not self._within:
            return _entry(self.overloads[arguments])
        self.targetoptions["no_cpython_wrapper"] = self._within
        return self._compiler.compile(arguments, returned)

    def add_overload(self, cres: Any) -> None:
        """Python finds only what has an entry for it, and kernels never an entry alone."""
        arguments = tuple(cres.signature.args)
        if not self._within:
            self._insert([kind._code for kind in arguments], cres.entry_point, cres.objectmode)
            self._entered[arguments] = cres
        if self._within or not self.shared:
            self.overloads[arguments] = cres


def _entry(result: Any) -> Any:
    """Code by which Python calls what was compiled for kernels, and nothing else."""
    target, about = result.target_context, copy(result.fndesc)
    about.env_name += ".entry"  # in which it finds Python's objects
    environment = Environment.from_fndesc(about)
    library = target.codegen().create_library(about.qualname)
    library.enable_object_caching()
    library.add_linking_library(result.library)
    target.create_cpython_wrapper(library, about, environment, None, release_gil=True)
    library.finalize()
    code = target.get_executable(library, about, environment)
    return result._replace(library=library, fndesc=about, environment=environment, entry_point=code)


def _compiled(function: Callable[..., Any], options: dict[str, Any], shared: bool = False) -> Any:
    if config.DISABLE_JIT:
        return function
    options = {"nopython": True, "boundscheck": None} | options
    dispatcher = _Kernel(function, targetoptions=options, pipeline_class=options.pop("pipeline_class", BriefCompiler))
    dispatcher.shared = shared
    if (folder := cache_folder()) is not None:
        dispatcher.keep(KeptCode(function, folder), KeptCode(function, folder, shared, within=True))
    return dispatcher


def address_of(dispatcher: Any, signature: tuple[Any, ...]) -> int:
    """Where the machine code of a shared kernel is that returns nothing, for a signature with literal types known."""
    dispatcher.within(dispatcher.compile, signature)
    result = dispatcher.overloads[signature]
    found: int = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    return found


@cache
def cache_folder() -> Path | None:
    """Below NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache; None where there is no home.

    Its name holds a digest of what the machine code depends on: all the kernels' files, the versions of Python and of
    the compiler, and the CPU's features.
    """
    versions = f"{sys.version_info[:2]} {numba.__version__} {llvmlite.__version__}"
    digest = hashlib.sha256(f"{versions} {config.CPU_NAME} {features()}".encode())
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.parent.glob("*.py")]):
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):
        return None
    return Path(base).absolute() / "xprnn" / digest.hexdigest()[:16]
