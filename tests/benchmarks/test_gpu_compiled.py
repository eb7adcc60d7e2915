"""What benchmarks.gpu.compiled reads out of what NVIDIA's compiler says, without the compiler."""

from benchmarks.gpu import compiled

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


def test_reports_and_disassembled_kernels_are_understood():
    assert compiled.said(REPORT) == {"registers": 138, "spilled": 12}
    assert compiled.of_a_step(TEXT) == 5


def test_what_does_not_fit_is_said_to_be_missing(monkeypatch):
    """An A100 has no clusters."""
    monkeypatch.setattr(compiled, "KINDS", {name: compiled.KINDS[name] for name in ("cluster", "one block")})
    rows = list(compiled.plans(["sm_80"]))
    assert {row["kind"] for row, plan in rows if plan} == {"one block"}
    assert len(rows) == 2 * 2 * 7
    figures = {"plan": "1 x 1", "registers": 9, "spilled": 0, "shared": 7}
    text = compiled.table({"compiler": "nvcc 0", "date": "today", "rows": [row | figures for row, _ in rows]})
    assert "| sm_80, one block 16,64 | Gru | bf16 | 1 x 1 / 1 x 1 | 9 / 9 | 0 / 0 | 7 / 7 | - / - |" in text
    assert "| sm_80, cluster 16,256 | Lstm | fp16 | 1 x 1 | 9 | 0 | 7 | - |" in text
