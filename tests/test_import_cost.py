"""What `import xprnn` costs, and what it leaves alone."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
HEAVY = ("numba", "cupy", "matplotlib", "array_api_strict", "torch", "safetensors", "tqdm", "click", "onnx")


def python(code, **env):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | env
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_import_reads_little_beside_numpy():
    """Counted, not timed: modules that `import xprnn` adds to NumPy's, and the source that they are read from.

    benchmarks/imports.py has the seconds.
    """
    code = """
import sys, numpy
before = set(sys.modules)
import xprnn
for name in sorted(set(sys.modules) - before):
    if path := getattr(sys.modules[name], "__file__", None):
        print(name, path)
"""
    added = dict(line.split(" ", 1) for line in python(code).splitlines())
    ours = [Path(path) for name, path in added.items() if name.split(".")[0] == "xprnn"]
    installed = {name.split(".")[0] for name, path in added.items() if "site-packages" in path}
    assert installed <= {"array_api_compat", "numpy", "xprnn"}
    assert not {"numpy.random", "hashlib", "inspect"} & added.keys()  # of what there is a wish to import, the dearest
    assert 10 < len(ours) <= 75, ours
    assert sum(path.stat().st_size for path in ours) <= 360_000


@pytest.mark.parametrize(
    ("first", "unneeded"),
    [
        ("from xprnn.data import windows", "xprnn.data.arrow xprnn.data.vocabulary xprnn.data.padding"),
        ("from xprnn.train import Adam, fit", "xprnn.train.ctc xprnn.train.tbptt xprnn.train.teacher_forcing"),
        ("from xprnn.distributed import each", "xprnn.distributed.mpi xprnn.distributed.threads"),
        ("import xprnn.estimators", "xprnn.estimators.series xprnn.train xprnn.data"),
        (
            "from xprnn.estimators import Forecaster; Forecaster()",
            "numpy.random xprnn.estimators.text xprnn.estimators.sequences.network xprnn.nn.quantized "
            "xprnn.nn.recurrent.memory_layers xprnn.data.word_vectors xprnn.distributed.mpi",
        ),
    ],
)
def test_a_first_line_imports_what_it_needs(first, unneeded):
    loaded = python(f"import sys; {first}; print(*(name for name in {unneeded.split()} if name in sys.modules))")
    assert loaded.split() == []


LATE = [path.parent.name for path in sorted((ROOT / "xprnn").glob("*/__init__.py")) if " = later(" in path.read_text()]


@pytest.mark.parametrize("room", LATE)
def test_names_that_are_imported_late_are_all_there(room):
    """In ``__all__``, for type checkers, and in the call of ``later``, all of which are written by hand."""
    package = importlib.import_module(f"xprnn.{room}")
    tree = ast.parse(Path(package.__file__).read_text())
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {name.name: node.module for node in typed.body for name in node.names}
    assert told.keys() - {*package.__all__} == set(), f"put these into __all__ of {room}"
    places = inspect.getclosurevars(package.__getattr__).nonlocals["places"]
    given = {name: f"{package.__name__}.{module}" for name, module in places.items()}
    assert given == told, f"TYPE_CHECKING and later() of {room} name different things"
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match=f"module 'xprnn.{room}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - asked for


@pytest.mark.parametrize("modules", ["xprnn", "xprnn, xprnn.kernels"])
def test_import_leaves_other_libraries_alone(modules):
    loaded = python(f"import sys, {modules}; print(*(name for name in {HEAVY} if name in sys.modules))")
    assert loaded.split() == []


def test_running_a_layer_imports_no_array_library_either():
    code = f"""
import sys
import numpy as np
import xprnn
output, _ = xprnn.nn.LSTM(2, 3)(np.ones((4, 1, 2), "float32"))
output.sum().backward()
print(*(name for name in {[name for name in HEAVY if name != "numba"]} if name in sys.modules))
"""
    assert python(code).split() == []


def test_broken_numba_does_not_matter():
    code = """
import sys
sys.modules["numba"] = None  # importing it raises ImportError
import numpy as np
import xprnn, xprnn.kernels
output, _ = xprnn.nn.LSTM(2, 3)(np.ones((4, 1, 2), "float32"))
print(xprnn.kernels.numba_status().split()[0], output.shape)
"""
    assert python(code).strip() == "unavailable (4, 1, 3)"


def test_declined_calls_on_numpy_import_nothing_of_cuda():
    code = """
import sys
import numpy as np
import xprnn
output, _ = xprnn.nn.LSTM(2, 3, peephole="full")(np.ones((4, 1, 2), "float32"))  # no compiled kernel for it
output.sum().backward()
print(*(name for name in sys.modules if name.startswith("xprnn.kernels.cuda")))
"""
    assert python(code).split() == []
