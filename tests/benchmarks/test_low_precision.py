"""What low_precision.py compares: every contender computes the same layer, in its own precision. Nothing is timed."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import xprnn
from xprnn import host_kernels

FOLDER = Path(xprnn.__file__).parents[1] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)
MODULES = ("contenders", "cpu", "history", "low_precision", "low_precision_tasks")


@pytest.fixture
def low_precision(monkeypatch):
    """The benchmark as a script sees it; other tests may have modules of such names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("BENCH_THREADS", "1")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import low_precision

    yield low_precision
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_contenders_compute_the_same_layer(cell, low_precision):
    from contenders import CONTENDERS

    arrays = low_precision.arrays_for(cell, (2, 5, 4, 8))
    for training in (False, True):
        (exact, *more), ran = map(np.asarray, CONTENDERS["xprnn"](cell, arrays, training)()), []
        for name in low_precision.NAMES:
            library, end = name.split()[0], low_precision.precision_end(name)
            run = CONTENDERS[name](cell, arrays, training) if find_spec(library) and find_spec("onnx") else None
            if run is None:
                continue
            found, *others = [np.asarray(a.float() if hasattr(a, "float") else a) for a in run()]
            off = np.abs(found - exact).max() / np.abs(exact).max()
            rounds = end == " int8" or (end and not isinstance(host_kernels.kernels(), str))  # as array code does not
            low = 1e-5 if rounds else 0.0
            assert low <= off <= low_precision.TOLERANCE[end], name
            assert len(others) == len(more)
            ran.append(name)
        assert {"xprnn", "xprnn bf16"} <= set(ran)
        assert ("xprnn int8" in ran) is not training


def test_tables_and_ratios(low_precision):
    ms = {"xprnn": 4.0, "xprnn bf16": 2.0, "xprnn int8": 1.0, "torch": 6.0, "torch bf16": 3.0, "onnxruntime int8": 2.0}
    row = {"cell": "GRU", "shape": "1,2,3,4", "mode": "inference", "ms": ms, "spread": dict.fromkeys(ms, 0.0)}
    row["errors"] = dict.fromkeys(ms, (0.1, 0.01))
    trained = row | {"mode": "training", "ms": {"xprnn": 3.0, "xprnn bf16": 2.0}}
    report = {
        "device": "a processor", "threads": 2, "avx2": False, "date": "today", "python": "3",
        "versions": {"xprnn": "1"}, "bf16": "b", "int8": "i", "layers": [row, trained],
        "sizes": [{"cell": "GRU", "inputs": 3, "hidden": 4, "bytes": {"float32": 40, "int8": 10}}],
        "streams": [{"cell": "GRU", "hidden": 4, "us": {f"{p} {w}": 1.0 for p in low_precision.PRECISIONS
                                                        for w in ("step", "block")}}],
        "tasks": {"a task": dict.fromkeys(low_precision.SCORES, 0.5)},
    }  # fmt: skip
    text = low_precision.table(report)
    assert "| 2.00, 1.50 | 4.00, 2.00 |" in text
    assert "| a task | 0.5000 | 0.5000 (+0e+00) |" in text
    ratios = {group: ratio for group, name, ratio in low_precision.history_rows({"layers": [row]})}
    assert ratios == {"inference float32": 1.5, "inference bf16": 1.5, "inference int8": 2.0}


def test_a_task_without_its_file_is_left_out(low_precision, tmp_path, capsys):
    assert low_precision.tasks(tmp_path) == {}
    assert "rt-polarity.neg and no rt-polarity.pos" in capsys.readouterr().err
