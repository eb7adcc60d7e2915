"""The history of benchmarks, and what compare.py says of it: made-up runs, nothing is timed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import xprnn

FOLDER = Path(xprnn.__file__).parents[1] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)

MACHINE = {"model": "Toy CPU", "features": ["avx2", "fma"], "threads": 2}


@pytest.fixture
def modules(monkeypatch):
    """history, compare and cpu as scripts see them; other tests may have modules of such names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("history", "compare", "cpu"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import compare
    import cpu
    import history

    yield history, compare, cpu
    for name in ("history", "compare", "cpu"):
        sys.modules.pop(name, None)


def run(commit, ratios, benchmark="cpu", machine=MACHINE, versions=None):
    return {
        "benchmark": benchmark,
        "commit": commit,
        "date": "2026-01-01",
        "machine": machine,
        "versions": versions or {"torch": "2.13.0"},
        "means": {},
        "ratios": {"inference": ratios},
    }


@pytest.fixture
def compared(modules, tmp_path, monkeypatch, capsys):
    """What compare.py prints and returns for some runs."""

    def call(runs, *options):
        path = tmp_path / "history.jsonl"
        path.write_text("".join(json.dumps(run) + "\n" for run in runs))
        monkeypatch.setattr(sys, "argv", ["compare.py", "--history", str(path), *options])
        status = modules[1].main()
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_a_run_is_one_line_with_everything_that_a_later_one_is_compared_by(modules, tmp_path, monkeypatch):
    history, _, _ = modules
    monkeypatch.setattr(history, "commit", lambda: "abc1234")
    monkeypatch.setattr(history, "machine", lambda threads: MACHINE | {"threads": threads})
    rows = [("training", "LSTM", 2.0), ("training", "GRU", 0.5), ("inference", "LSTM", 3.0), ("free", "GRU", math.nan)]
    for _ in range(2):
        history.append(tmp_path / "new", "cpu", rows, threads=1, versions={"xprnn": "0.1.0", "torch": "2.13.0"})
    first, second = map(json.loads, (tmp_path / "new" / "history.jsonl").read_text().splitlines())
    assert first == second
    assert first.pop("date")[:2] == "20"
    assert first.pop("versions").items() >= {"xprnn": "0.1.0", "torch": "2.13.0"}.items()
    assert first == {
        "benchmark": "cpu",
        "commit": "abc1234",
        "machine": MACHINE | {"threads": 1},
        "means": {"training": 1.0, "inference": 3.0},
        "ratios": {"training": {"LSTM": 2.0, "GRU": 0.5}, "inference": {"LSTM": 3.0}},
    }


def test_a_run_without_peers_leaves_no_line(modules, tmp_path):
    modules[0].append(tmp_path, "cpu", [("training", "LSTM", math.nan)], threads=1, versions={})
    assert not list(tmp_path.iterdir())


def test_a_commit_with_changes_is_not_that_commit(modules, tmp_path, monkeypatch):
    history, _, _ = modules

    def git(*command):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *command], cwd=tmp_path, check=True)

    monkeypatch.setattr(history, "HERE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert history.commit() == "unknown"
    (tmp_path / "code.py").write_text("1\n")
    git("init", "--quiet")
    git("add", "code.py")
    git("commit", "--quiet", "--message", "one")
    clean = history.commit()
    assert len(clean) >= 7
    (tmp_path / "other.txt").write_text("not tracked: no part of the code\n")
    assert history.commit() == clean
    (tmp_path / "code.py").write_text("2\n")
    assert history.commit() == f"{clean}+"


def test_the_machine_says_its_processor_and_vector_units(modules):
    history, _, cpu = modules
    found = history.machine(3)
    assert set(found) == {"model", "features", "threads"}
    assert found["threads"] == 3
    assert found["model"] in cpu.device()


INTEL = "processor : 0\nmodel name : Toy 9000\nflags : fpu sse2 avx avx2 fma avx512f avx512_bf16\n"
ARM = "processor : 0\nFeatures : fp asimd sve\n"


def test_processors_of_several_makers(modules, monkeypatch):
    history, _, cpu = modules
    monkeypatch.setattr(history, "_cpuinfo", lambda: INTEL)
    assert history.machine(1)["features"] == ["avx2", "fma", "avx512f"]
    assert cpu.device() == "Toy 9000 (AVX-512)"
    monkeypatch.setattr(history, "_cpuinfo", lambda: INTEL.replace("avx512f avx512_bf16", ""))
    assert cpu.device() == "Toy 9000 (AVX2)"
    monkeypatch.setattr(history, "_cpuinfo", lambda: ARM)
    assert history.machine(1)["features"] == ["asimd", "sve"]
    monkeypatch.setattr(history, "_cpuinfo", lambda: "")
    assert history.machine(1)["features"] == []


def test_later_rows_of_the_same_commit_count(modules, tmp_path):
    history, _, _ = modules
    path = tmp_path / "history.jsonl"
    lines = [run("a", {"x": 1.0, "y": 2.0}), run("b", {"x": 5.0}), run("a", {"x": 3.0})]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(r["commit"], r["ratios"]["inference"]) for r in history.runs(path)] == [
        ("b", {"x": 5.0}),
        ("a", {"x": 3.0, "y": 2.0}),
    ]


def test_a_damaged_line_is_named(modules, tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(run("a", {})) + '\n{"benchmark": "cpu"\n')
    with pytest.raises(ValueError, match=r"history\.jsonl, line 2: "):
        modules[0].runs(path)
    path.write_text('{"benchmark": "cpu"}\n')
    with pytest.raises(ValueError, match=r"history\.jsonl, line 1: commit is missing"):
        modules[0].runs(path)
    path.write_text("[]\n")
    with pytest.raises(ValueError, match=r"history\.jsonl, line 1: benchmark is missing"):
        modules[0].runs(path)


def test_rows_of_the_results_that_scripts_write(modules, monkeypatch):
    """Each script's rows come with a group, a name of their own, and the best peer's time over ours."""
    ms = {"xprnn": 2.0, "torch": 6.0, "jax": 5.0}
    grid = {"rows": [{"cell": "LSTM", "shape": [1, 2, 3, 4], "mode": "training", "ms": ms}]}
    assert list(modules[2].history_rows(grid)) == [("training", "LSTM 1,2,3,4", 2.5)]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BENCH_THREADS"):  # which importing streaming sets
        monkeypatch.setenv(name, "1")
    monkeypatch.delitem(sys.modules, "streaming", raising=False)
    monkeypatch.delitem(sys.modules, "seq2seq", raising=False)
    import seq2seq
    import streaming

    rows = {"rows": [{"cell": "LSTM", "hidden": 8, "block": block, "median": ms} for block in (1, 64, 4096)]}
    groups = "median", "block of 64", "whole"
    assert list(streaming.history_rows(rows)) == [(group, "LSTM H=8", 2.5) for group in groups]
    rows = {"rows": [{"shape": [1, 2], "attention": "general", "mode": "forced, lengths", "ms": ms}]}
    assert list(seq2seq.history_rows(rows)) == [("forced, lengths", "general 1,2", 2.5)]


def test_the_history_of_this_repository_can_be_read(modules):
    history, _, _ = modules
    found = [run for file in (FOLDER / "results").rglob(history.FILE) for run in history.runs(file)]
    assert {run["benchmark"] for run in found} >= {"cpu", "streaming", "seq2seq"}


@pytest.mark.parametrize(
    ("flags", "folder"), [("sse2 avx2 fma", "results/avx2"), ("avx2 fma avx512f", "results"), ("asimd", "results")]
)
def test_machines_without_avx512_have_results_of_their_own(modules, monkeypatch, flags, folder):
    history, _, _ = modules
    monkeypatch.setattr(history, "_cpuinfo", lambda: f"flags : {flags}")
    assert history.results() == FOLDER / folder


def test_a_row_that_fell_beyond_the_bound_is_named_and_fails(compared):
    status, printed = compared([run("a", {"LSTM": 2.0, "GRU": 1.0}), run("b", {"LSTM": 1.6, "GRU": 1.3})])
    assert status == 1
    assert "cpu inference LSTM: 2.00 -> 1.60 (-20%)" in printed
    assert "GRU" not in printed


def test_within_the_bound_nothing_fell(compared):
    runs = [run("a", {"LSTM": 2.0, "GRU": 1.0}), run("b", {"LSTM": 1.75, "GRU": 1.2})]
    assert compared(runs)[0] == 0
    assert compared(runs, "--bound", "0.1")[0] == 1


def test_many_small_losses_show_in_the_mean(compared):
    old, new = ({f"row {k}": ratio for k in range(5)} for ratio in (2.0, 1.8))
    status, printed = compared([run("a", old), run("b", new)])
    assert status == 1
    assert "cpu inference, geometric mean of 5 rows: 2.00 -> 1.80 (-10%)" in printed
    assert "row 0" not in printed
    assert compared([run("a", old), run("b", new)], "--mean-bound", "0.2")[0] == 0


def test_the_mean_is_over_rows_that_both_have(compared):
    status, _ = compared([run("a", {"x": 1.0, "gone": 9.0}), run("b", {"x": 1.0, "come": 0.1})])
    assert status == 0


def test_only_runs_on_the_same_kind_of_machine_are_compared(compared):
    others = [MACHINE | {"threads": 1}, MACHINE | {"features": ["avx2"]}, MACHINE | {"model": "Other"}]
    for other in others:
        status, printed = compared([run("a", {"x": 2.0}), run("b", {"x": 1.0}, machine=other)])
        assert status == 2
        assert "nothing to compare" in printed


def test_benchmarks_are_compared_each_with_its_own_last_run(compared):
    runs = [run("a", {"x": 2.0}), run("a", {"x": 9.0}, "streaming"), run("b", {"x": 2.0}), run("c", {"x": 1.0})]
    status, printed = compared(runs)
    assert status == 1
    assert "b -> c" in printed
    assert "streaming" not in printed
    assert compared(runs, "--old", "a", "--new", "b")[0] == 0


def test_commits_are_named_by_their_beginning_and_must_be_there(compared):
    runs = [run("abc1234", {"x": 2.0}), run("def5678", {"x": 2.0}), run("aaa9999", {"x": 1.0})]
    assert compared(runs, "--old", "abc")[0] == 1
    status, printed = compared(runs, "--old", "fff")
    assert status == 2
    assert "nothing to compare" in printed


def test_other_versions_of_a_peer_are_said(compared):
    runs = [run("a", {"x": 2.0}), run("b", {"x": 2.0}, versions={"torch": "2.14.0"})]
    assert "torch 2.13.0 -> 2.14.0" in compared(runs)[1]


def test_a_history_that_is_not_there_is_said_in_a_line(modules, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--history", str(tmp_path / "nowhere.jsonl")])
    with pytest.raises(SystemExit) as ended:
        modules[1].main()
    assert ended.value.code == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--bound", "--mean-bound"])
def test_a_bound_is_a_share(compared, option, capsys):
    with pytest.raises(SystemExit) as ended:
        compared([], option, "15")
    assert ended.value.code == 2
    assert "15.0 is not between 0 and 1" in capsys.readouterr().err
