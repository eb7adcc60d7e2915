"""The passes by which Numba compiles a kernel: its own, without those that kernels do not need."""

from __future__ import annotations

import gc
from typing import Any

from numba.core import ir, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.ir_utils import build_definitions
from numba.core.untyped_passes import IRProcessing

from .copied import Copied


@register_pass(mutates_CFG=False, analysis_only=False)
class _KnownArguments(FunctionPass):  # type: ignore[misc]
    """Arguments whose types say what they are become constants, and branches that these rule out are not compiled."""

    _name = "known_arguments"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        known = state.func_ir
        for block in known.blocks.values():
            for assigned in block.find_insts(ir.Assign):
                given = state.args[assigned.value.index] if isinstance(assigned.value, ir.Arg) else None
                if isinstance(given, types.Literal):
                    assigned.value = ir.Const(given.literal_value, assigned.loc)
        known._definitions = build_definitions(known.blocks)
        return True


# No kernel has functions within functions, blocks of `with`, or asks for what is literal; a text of all types, which
# nobody reads, was a tenth of each file.
NEEDLESS = {"WithLifting", "InlineClosureLikes", "MakeFunctionToJitFunction", "FindLiterallyCalls", "LiteralUnroll"}
NEEDLESS |= {"LiteralPropagationSubPipelinePass", "AnnotateTypes", "DumpParforDiagnostics"}


class _Passes(PassManager):  # type: ignore[misc]
    """Passes one after another. Numba's own tells whoever listens of each, with all types in words; nobody does."""

    def _runPass(self, index: int, step: Any, state: Any) -> None:  # noqa: N802 - Numba's name
        step.analysis = self._analysis
        for run in (step.run_initialization, step.run_pass, step.run_finalizer):
            run(state)


class BriefCompiler(Compiler):  # type: ignore[misc]
    """A compiler without the passes that kernels do not need, and which nobody interrupts to look for garbage.

    There is little of it, and so much alive that to look through it took a twelfth of the time.
    """

    for_kernels = Copied  # what becomes of a function that only kernels call
    passes: Any = None  # the same for all functions

    def define_pipelines(self) -> Any:
        if self.passes is None:
            type(self).passes = self._needed()
        return [self.passes]

    def _needed(self) -> _Passes:
        (usual,) = super().define_pipelines()
        needed = _Passes(usual.pipeline_name)
        needed.passes = [step for step in usual.passes if step[0].__name__ not in NEEDLESS]
        needed.finalize()
        return needed

    def _compile_bytecode(self) -> Any:
        collected = gc.isenabled()
        gc.disable()
        if self.state.flags.no_cpython_wrapper:
            self.state.library = self.for_kernels(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
        try:
            result = super()._compile_bytecode()
            for environment in result._find_referenced_environments():  # those of what it has copied, too
                result.library.codegen.set_env(environment.env_name, environment)
            return result
        finally:
            if collected:
                gc.enable()


class NamedCompiler(BriefCompiler):
    """A compiler whose functions are called the same in every process, since others that are kept on disk call them."""

    for_kernels, passes = JITCodeLibrary, None

    def _needed(self) -> _Passes:
        needed = super()._needed()
        needed.add_pass_after(_KnownArguments, IRProcessing)
        needed.finalize()
        return needed

    def _compile_bytecode(self) -> Any:
        self.state.func_id.unique_id = 0  # instead of how many functions were compiled before
        return super()._compile_bytecode()
