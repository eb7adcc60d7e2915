"""What benchmarks.gpu.compiled reads out of what NVIDIA's compiler says, without the compiler."""

import dataclasses

import pytest
from gpu_benchmark import ROOT

REPORT = """ptxas info    : Compiling entry function 'persistent_forward' for 'sm_90'
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 138 registers, used 1 barriers
"""
TEXT = """
.L_x_0:
        /*0000*/                   MOV R1, R2 ;
.L_x_1:
        /*0010*/              @!P1 BRA `(.L_x_2) ;
        /*0020*/                   IADD3 R1, R1, R2, RZ ;
        /*0030*/              @!P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0040*/                   BRA `(.L_x_0) ;
        /*0050*/                   EXIT ;
.L_x_3:
        /*0060*/                   BRA `(.L_x_3) ;
"""


@pytest.fixture
def compiled(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.gpu import compiled

    return compiled


def test_reports_and_disassembled_kernels_are_understood(compiled):
    assert compiled.said(REPORT) == {"registers": 138, "spilled": 12}
    assert compiled.of_a_step(TEXT) == 5


@pytest.mark.parametrize("changed", ["text", "plan", "architecture", "compiler"])
def test_a_kernel_is_compiled_once_for_all_that_it_is_made_of(compiled, monkeypatch, tmp_path, changed):
    (tmp_path / "forward.cu").write_text("one")
    _, tried = next(iter(compiled.plans(["sm_90"])))
    plan = next(tried)
    counted = iter(range(9))
    monkeypatch.setattr(compiled, "compiled", lambda *a: {"registers": next(counted)})
    figures = lambda version, *what: compiled.Compiler(version, tmp_path / "kept").figures(*what, tmp_path)["registers"]
    assert [figures("1", "sm_90", plan) for _ in range(2)] == [0, 0]
    if changed == "text":
        (tmp_path / "forward.cu").write_text("another")
    if changed == "plan":
        plan = dataclasses.replace(plan, held=plan.held - 1)
    version, architecture = "12"[changed == "compiler"], "sm_100" if changed == "architecture" else "sm_90"
    assert figures(version, architecture, plan) == 1


def test_what_does_not_fit_is_said_to_be_missing(compiled, monkeypatch):
    """An A100 has no clusters."""
    monkeypatch.setattr(compiled, "KINDS", {name: compiled.KINDS[name] for name in ("cluster", "one block")})
    rows = list(compiled.plans(["sm_80"]))
    assert {row["kind"] for row, tried in rows if next(tried, None)} == {"one block"}
    assert len(rows) == 2 * 2 * 6
    figures = {"plan": "1 x 1", "registers": 9, "spilled": 0, "tried": 1, "shared": 7}
    text = compiled.table({"compiler": "nvcc 0", "date": "today", "rows": [row | figures for row, _ in rows]})
    assert "| sm_80, one block 16,64 | Gru | bf16 | 1 x 1 / 1 x 1 | 9 / 9 | 0 / 0 | 1 / 1 | 7 / 7 | - / - |" in text
    assert "| sm_80, cluster 16,256 | Lstm | tf32 | 1 x 1 / 1 x 1 | 9 / 9 | 0 / 0 | 1 / 1 | 7 / 7 | - / - |" in text
    text = compiled.table(
        {"compiler": "nvcc 0", "date": "today", "before": "abc", "rows": [rows[0][0] | {"before": 8}]}
    )
    assert "Before: instructions of abc" in text
    assert "| - | - | - | - | - | - | 8 |" in text


def test_of_plans_that_spill_the_next_is_counted_and_the_last_where_all_do(compiled):
    spilled = {"best": 8, "with a span less": 0, "with two": 0}
    figures = lambda plan: {"spilled": spilled[plan]}
    assert compiled.first_without_spill(iter(spilled), figures) == ("with a span less", {"spilled": 0, "tried": 2})
    assert compiled.first_without_spill(iter(["best"]), figures) == ("best", {"spilled": 8, "tried": 1})
    assert compiled.first_without_spill(iter([]), figures) is None
    alone = lambda plan: plan.cluster == 1
    held = [plan.held for plan in compiled.in_turn(alone, ("Lstm", True, "tf32", 16, 64, 170, 101376, 8))]
    assert held[:3] == [8, 6, 4]
