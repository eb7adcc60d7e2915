"""Kernels that their callers copy into their own machine code, and of which there is no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import binding
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult, compile_result

KIND = "copied"
NOBODY = SimpleNamespace(set_env=lambda name, environment: None)


class Copied(JITCodeLibrary):  # type: ignore[misc]
    """Optimised, but not translated: that was a third of the time, and nobody would run it."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """None: there is no machine code to point to."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """A code generator that forgets environments, in which machine code finds Python's objects: this is not run."""
        return NOBODY

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        """What callers copy."""
        return self.name, KIND, self._get_module_for_linking().as_bitcode()


def rebuilt(target: Any, parts: tuple[Any, ...]) -> Any:
    """A result of Numba's from what its ``_reduce`` gave, be it machine code or not."""
    (name, kind, content), fndesc, environment, signature, *_ = parts
    if kind != KIND:
        return CompileResult._rebuild(target, *parts)
    library = Copied(target.codegen(), name)
    library._shared_module = binding.parse_bitcode(content)
    library._finalize_final_module()
    return compile_result(
        typing_context=target.typing_context, target_context=target, signature=signature, objectmode=False,
        fndesc=fndesc, library=library, environment=environment, lifted=(), reload_init=[],
        entry_point=target.get_executable(library, fndesc, environment),
    )  # fmt: skip
