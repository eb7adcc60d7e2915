"""No kernel works at the address of an array of its own that Numba has freed: it frees one after its last use by name.

What is an argument, or taken from one, belongs to whoever calls, and stays.
"""

import importlib
import pkgutil
from itertools import chain

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from numba.core import analysis, ir, postproc  # noqa: E402
from numba.core.compiler import run_frontend  # noqa: E402
from numba.core.dispatcher import Dispatcher  # noqa: E402
from numba.core.ssa import reconstruct_ssa  # noqa: E402
from xprnn.kernels import cpu  # noqa: E402
from xprnn.kernels.cpu.intrinsics import address, offset, spread  # noqa: E402

if numba.config.DISABLE_JIT:
    pytest.skip("nothing is compiled", allow_module_level=True)

MADE_OF_ADDRESSES = {"offset", "offsets", "spread", "all_parts", "operand", "retyped"}
PART = {"getattr", "getitem", "static_getitem", "exhaust_iter", "cast"}
TAKEN = PART | {"phi"}
PASSED_ON = TAKEN | {"build_tuple"}


def sources_of(value):
    """The names of what a value is, or is part of, or is made of."""
    if isinstance(value, ir.Var):
        return [value.name]
    if not isinstance(value, ir.Expr):
        return []
    return [value.value.name] if value.op in PART else [source.name for source in value.list_vars()]


class Function:
    """Numba's own form of a function, with the places where it lets go of what a name held."""

    def __init__(self, function):
        self.form = reconstruct_ssa(run_frontend(function))
        postproc.PostProcessor(self.form).run(emit_dels=True)
        self.values = {}
        for assigned in chain.from_iterable(block.find_insts(ir.Assign) for block in self.form.blocks.values()):
            self.values.setdefault(assigned.target.name, []).append(assigned.value)

    def called(self, value):
        """The name of the function that an expression calls, if it is a global one."""
        functions = self.values.get(value.func.name, []) if value.op == "call" else []
        return functions[0].name if functions and isinstance(functions[0], ir.Global) else None

    def owns(self, name, seen=()):
        """Whether a name may hold an array that this function made."""
        for value in [] if name in seen else self.values.get(name, []):
            made = isinstance(value, ir.Expr) and value.op not in TAKEN
            if made or any(self.owns(source, (*seen, name)) for source in sources_of(value)):
                return True
        return False

    def arrays_of(self):
        """For each name that holds an address, or several, those of the function's arrays that these lie in."""
        found, before = {}, None
        while found != before:
            before = dict(found)
            for name, values in self.values.items():
                found[name] = frozenset(chain(*(self._lies_in(value, found) for value in values)))
        return found

    def _lies_in(self, value, found):
        name = self.called(value) if isinstance(value, ir.Expr) else None
        if name in ("address", "addresses"):
            return [value.args[0].name] if self.owns(value.args[0].name) else []
        if isinstance(value, ir.Var) or name in MADE_OF_ADDRESSES or getattr(value, "op", "") in PASSED_ON:
            return chain(*(found.get(source, ()) for source in sources_of(value)))
        return ()

    def freed_too_early(self):
        """The names of arrays that are let go of while an address in them is yet to be used."""
        blocks, arrays = self.form.blocks, self.arrays_of()
        graph, use = analysis.compute_cfg_from_blocks(blocks), analysis.compute_use_defs(blocks)
        needed = analysis.compute_live_map(graph, blocks, use.usemap, use.defmap)
        early = set()
        for label, block in blocks.items():
            later = set().union(*(needed[after] for after, _ in graph.successors(label)))
            for statement in reversed(block.body):
                if isinstance(statement, ir.Del):
                    if any(statement.value in arrays.get(name, ()) for name in later):
                        early.add(statement.value)
                    continue
                made = {statement.target.name} if isinstance(statement, ir.Assign) else set()
                later = later - made | {used.name for used in statement.list_vars()} - made
        return early


def test_arrays_live_as_long_as_addresses_in_them():
    for room in pkgutil.iter_modules(cpu.__path__):
        module = importlib.import_module(f"{cpu.__name__}.{room.name}")
        for name, found in vars(module).items():
            if isinstance(found, Dispatcher) and found.py_func.__module__ == module.__name__:
                assert not Function(found.py_func).freed_too_early(), (room.name, name)


def test_arrays_that_are_freed_too_early_are_found():
    def lost(size):
        made = np.empty(size)
        parts = spread(offset(address(made, 0), 1), 1)
        for _ in range(size):
            parts[0][0] = 0

    def kept(size):
        made = np.empty(size)
        for _ in range(size):
            address(made, 0)[0] = 0

    def given(made, size):
        whole = made[1:]
        parts = spread(address(whole, 0), 1)
        for _ in range(size):
            parts[0][0] = 0

    assert [Function(function).freed_too_early() for function in (lost, kept, given)] == [{"made"}, set(), set()]
