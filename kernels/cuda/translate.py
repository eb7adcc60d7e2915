"""The pointwise kernels as CUDA C++, translated from the Python that pointwise.py and scalar_cells.py are.

So a cell's equations stand in one place for the host, the simulator and a device, and a device needs no compiler but
NVRTC, which CuPy has. Only what those two files say is translated, and anything else is refused:

    functions      of numbers and arrays; more than one result becomes references behind the arguments
    statements     assignments, ``if``, ``for b in range(...)``, ``continue``, ``return``
    numbers        ``real``, the type of the arrays, and whole ones of 64 bits; what a real has part in is real
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import numpy as np

from .. import scalar_cells
from . import launch, pointwise

REAL, WHOLE = "real", "long long"
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.BitAnd: "&", ast.BitOr: "|",
    ast.LtE: "<=", ast.Lt: "<",
}  # fmt: skip
OF_THE_GRID = {
    "cuda.grid(1)": "static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x",
    "cuda.blockIdx.y": "static_cast<long long>(blockIdx.y)",
    "cuda.gridDim.y": "static_cast<long long>(gridDim.y)",
}


@cache
def text() -> str:
    """All kernels in one piece; ``-DXPRNN_REAL=float`` or ``double`` says of what type."""
    results: dict[str, str] = {"tanh": REAL}  # of the functions so far
    lines = ["using real = XPRNN_REAL;"]
    lines += [f"constexpr int {name} = {value};" for name, value in _constants(scalar_cells, pointwise).items()]
    (build,) = (f for f in _functions(scalar_cells) if f.name == "build")
    for function in [f for f in build.body if isinstance(f, ast.FunctionDef)]:
        lines += _Function(function, results, dict.fromkeys(_parameters(function), REAL)).text()
    for function in _functions(pointwise):
        types = {name: _type(name) for name in _parameters(function)}
        lines += _Function(function, results, types).text(kernel=function.name in pointwise.KERNELS)
    return "\n".join(lines) + "\n"


def _functions(module: ModuleType) -> list[ast.FunctionDef]:
    return [f for f in ast.parse(inspect.getsource(module)).body if isinstance(f, ast.FunctionDef)]


def _constants(*modules: ModuleType) -> dict[str, int]:
    return {
        name: int(value)
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, (int, np.integer))
    }


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [a.arg for a in function.args.args]


def _type(parameter: str) -> str:
    if parameter == "flags":
        return "const unsigned char* __restrict__"
    return f"{REAL}* __restrict__" if any(parameter in launch.array_parameters(k) for k in pointwise.KERNELS) else WHOLE


class _Function:
    """One function; ``results`` has what those before it return, and gets what it returns."""

    def __init__(self, function: ast.FunctionDef, results: dict[str, str], types: dict[str, str]) -> None:
        self.function, self.results, self.parameters, self.types = function, results, list(types), dict(types)

    def text(self, kernel: bool = False) -> list[str]:
        """Its lines."""
        statements = self.function.body
        if ast.get_docstring(self.function) is not None:
            statements = statements[1:]
        body = [f"    {line}" for line in self.block(statements)]
        locals_ = [f"    {kind} {name};" for name, kind in self.types.items() if name not in self.parameters]
        arguments = [f"{self.types[name]} {name}" for name in self.parameters]
        returned = [n.value for n in ast.walk(self.function) if isinstance(n, ast.Return) and n.value is not None]
        outs = len(returned[0].elts) if returned and isinstance(returned[0], ast.Tuple) else 0
        arguments += [f"{REAL}& result{k}" for k in range(outs)]
        result = self.results[self.function.name] = self.common(returned) if returned and not outs else "void"
        head = 'extern "C" __global__' if kernel else "__device__ __forceinline__"
        return [f"{head} {result} {self.function.name}({', '.join(arguments)}) {{", *locals_, *body, "}"]

    def common(self, values: list[ast.expr]) -> str:
        """The type that has all values."""
        return REAL if REAL in map(self.type, values) else WHOLE

    def block(self, statements: list[ast.stmt]) -> Iterator[str]:
        """The lines of some statements."""
        for statement in statements:
            yield from self.statement(statement)

    def statement(self, node: ast.stmt) -> Iterator[str]:
        """The lines of one."""
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                written = [ast.unparse(target) for target in targets]
                for k, (target, value) in enumerate(zip(targets, values, strict=True)):
                    if any(ast.unparse(n) in written[:k] for n in ast.walk(value)):
                        raise _refused(node)  # all values come before all assignments, in Python
                    yield self.assigned(target, value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Call() as call):
                self.types |= {ast.unparse(target): REAL for target in targets}
                yield f"{self.call(call, targets)};"
            case ast.Assign(targets=[target], value=value):
                yield self.assigned(target, value)
            case ast.If(test=test, body=body, orelse=orelse):
                yield f"if ({self.expression(test)}) {{"
                yield from (f"    {line}" for line in self.block(body))
                if orelse:
                    yield "} else {"
                    yield from (f"    {line}" for line in self.block(orelse))
                yield "}"
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=[first, end, step])):
                self.types[name] = WHOLE
                first_, end_, step_ = (self.expression(a) for a in (first, end, step))
                yield f"for ({name} = {first_}; {name} < {end_}; {name} += {step_}) {{"
                yield from (f"    {line}" for line in self.block(node.body))
                yield "}"
            case ast.Continue():
                yield "continue;"
            case ast.Return(value=ast.Tuple(elts=values)):
                yield from (f"result{k} = {self.expression(value)};" for k, value in enumerate(values))
                yield "return;"
            case ast.Return(value=ast.expr() as value):
                yield f"return {self.expression(value)};"
            case _:
                raise _refused(node)

    def assigned(self, target: ast.expr, value: ast.expr) -> str:
        """A line; the first assignment to a name says of what type it is."""
        found = self.expression(value)
        if isinstance(target, ast.Name):
            self.types.setdefault(target.id, self.type(value))
        return f"{self.expression(target)} = {found};"

    def call(self, node: ast.Call, more: list[ast.expr]) -> str:
        """A function with its arguments, and with references for its results."""
        if ast.unparse(node.func) not in self.results or node.keywords:
            raise _refused(node)
        return f"{ast.unparse(node.func)}({', '.join(self.expression(a) for a in [*node.args, *more])})"

    def expression(self, node: ast.expr) -> str:
        """What a value is in C++."""
        if (known := OF_THE_GRID.get(ast.unparse(node))) is not None:
            return f"({known})"
        match node:
            case ast.Name(id=name):
                return name
            case ast.Constant(value=int(value)):
                return str(value)
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                return f"{name}[{self.expression(index)}]"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return f"({self.expression(left)} {OPERATORS[type(op)]} {self.expression(right)})"
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
                return f"({self.expression(left)} {OPERATORS[type(op)]} {self.expression(right)})"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"!{self.expression(operand)}"
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return f"({self.expression(test)} ? {self.expression(body)} : {self.expression(orelse)})"
            case ast.Call():
                return self.call(node, [])
        raise _refused(node)

    def type(self, node: ast.expr) -> str:
        """REAL or WHOLE."""
        match node:
            case ast.Name(id=name):
                return self.types.get(name, WHOLE)
            case ast.Subscript(value=ast.Name(id=name)):
                return REAL if self.types.get(name, WHOLE).startswith(REAL) else WHOLE
            case ast.BinOp(left=left, right=right):
                return self.common([left, right])
            case ast.IfExp(body=body, orelse=orelse):
                return self.common([body, orelse])
            case ast.Call(func=ast.Name(id=name)):
                return self.results[name]
        return WHOLE


def _refused(node: ast.AST) -> TypeError:
    return TypeError(f"translate: nothing in CUDA C++ stands for {ast.unparse(node)!r}")
