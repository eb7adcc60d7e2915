"""Every call of CuPy in kernels/cuda and benchmarks/gpu*, held against the package itself; no driver is needed."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import xprnn

cupy = pytest.importorskip("cupy")

ROOT = Path(xprnn.__file__).parents[1]
SOURCES = [*sorted((ROOT / "kernels" / "cuda").glob("*.py")), *sorted((ROOT / "benchmarks").glob("gpu*.py"))]
if not (ROOT / "benchmarks").exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)


def chain(node):
    """The names behind ``cupy``, or behind ``importlib.import_module("cupy")``, as ``cupy.cuda.Event`` has two."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    text = ast.unparse(node)
    return names if names and text in ("cupy", "importlib.import_module('cupy')") else None


def uses():
    """Where CuPy is used: a place to read, names, and the call if it is one."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner and (names := chain(node)):
                yield pytest.param(names, called.get(id(node)), id=f"{path.name}:{node.lineno}:{'.'.join(names)}")
            elif isinstance(node, ast.Attribute) and id(node) in called and (names := chain(node)):
                yield pytest.param(names, called[id(node)], id=f"{path.name}:{node.lineno}:{'.'.join(names)}")


def parameters(function):
    """Of a function of Python, or of a compiled one, whose documentation begins with them; None where neither says."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        pass
    first = (function.__doc__ or "").splitlines()[:1]
    if not first or not (found := re.fullmatch(r"[\w.]+\((.*?)\)(?: -> .*)?", first[0].strip())):
        return None
    kinds, kind = [], inspect.Parameter.POSITIONAL_OR_KEYWORD
    for part in filter(None, map(str.strip, found[1].split(","))):
        name = part.partition("=")[0].split()[-1]
        if name == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
        elif name.startswith("**"):
            kinds.append(inspect.Parameter(name[2:], inspect.Parameter.VAR_KEYWORD))
        elif name != "self":
            default = None if "=" in part else inspect.Parameter.empty
            kinds.append(inspect.Parameter(name, kind, default=default))
    return kinds


@pytest.mark.parametrize(("names", "call"), list(uses()))
def test_what_is_used_is_there_and_takes_what_it_is_given(names, call):
    value = cupy
    for name in names:
        try:
            value = getattr(value, name)
        except ImportError as error:
            pytest.skip(f"a library of CUDA is not installed ({error})")
    known = parameters(value) if call is not None else None
    if known is not None:
        given = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        inspect.Signature(known).bind(*[None] * len(call.args), **given)


def test_the_arrays_functions_that_kernels_use_are_cupys():
    for path in sorted((ROOT / "kernels" / "cuda").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "xp":
                assert hasattr(cupy, node.attr), f"{path.name}:{node.lineno}"


def test_events_pools_and_hooks_are_as_the_clock_has_them():
    names = lambda function: [p.name for p in parameters(function)]
    assert names(cupy.cuda.get_elapsed_time) == ["start_event", "end_event"]
    assert names(cupy.cuda.set_allocator) == ["allocator"]
    assert "raw memory allocator" in " ".join(cupy.cuda.set_allocator.__doc__.split())  # where it is None
    for name in ("record", "synchronize"):
        assert callable(getattr(cupy.cuda.Event, name))
    assert callable(cupy.cuda.Stream.synchronize)
    assert callable(cupy.cuda.Device.synchronize)
    assert callable(cupy.cuda.MemoryPool.free_all_blocks)
    for name in ("malloc_postprocess", "free_postprocess"):
        (more,) = (p for p in parameters(getattr(cupy.cuda.MemoryHook, name)) if p.name != "self")
        assert more.kind is inspect.Parameter.VAR_KEYWORD
    assert names(cupy.random.Generator.random)[-3:] == ["size", "dtype", "out"]
    assert names(cupy.random.Generator.standard_normal)[-3:] == ["size", "dtype", "out"]


def test_a_kernel_takes_grid_block_arguments_and_shared_memory():
    assert "shared_mem=0" in inspect.getdoc(cupy.RawKernel.__call__)
    assert [p.name for p in parameters(cupy.RawKernel.__call__)][-4:-1] == ["grid", "block", "args"]


def test_the_hook_is_told_how_much():
    """``mem_size`` is what the clock's hook adds up: a hook of CuPy's own asks for the same."""
    from cupy.cuda import memory_hooks

    assert "mem_size" in inspect.getsource(memory_hooks.DebugPrintHook)
