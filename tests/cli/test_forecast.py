"""The command line, as a user sees it."""

import csv
import errno
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import lines_run
from reports import check_page

from xprnn.cli import main
from xprnn.cli.options import INPUT
from xprnn.cli.quantiles import Quantiles
from xprnn.data.csv_series import CsvSeries
from xprnn.data.synthetic import daily_temperatures
from xprnn.estimators import Forecaster

QUICK = ["--epochs", "1", "--hidden", "4", "--window", "5"]
MELBOURNE = Path(__file__).parents[2] / "shared" / "data" / "daily-min-temperatures.csv"


@pytest.fixture
def series(tmp_path):
    """Two columns with dates, short."""
    source, path = daily_temperatures(3, rng=1), tmp_path / "weather.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "temperature", "double"])
        for row, value in enumerate(source.values[:, 0]):
            writer.writerow([source.label(row), value, 2 * value])
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_forecast_writes_table_csv_model_and_picture(series, tmp_path, pictures):
    out = tmp_path / "out"
    result = run("forecast", series, "--column", "temperature", "--test", "0.2", "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    for name in (
        "xprnn lstm",
        "persistence",
        "drift",
        "seasonal naive (7)",
        "seasonal naive (365)",
        "AR(7)",
        "AR(29)",
        "RMSE",
        "MAE",
        "MASE",
    ):
        assert name in result.stdout
    rows = list(csv.DictReader((out / "forecast.csv").read_text().splitlines()))
    assert len(rows) == 219 + 1
    assert rows[-1]["actual"] == ""
    assert (rows[0]["when"], rows[-1]["when"]) == ("2017-06-10", "2018-01-15")
    model = Forecaster.load(out / "model.safetensors")
    assert float(rows[-1]["xprnn lstm"]) == pytest.approx(model.predict(1)[0], rel=1e-5)
    page = check_page(out / "report.html")
    for words in (
        "On 219 steps that were kept out of training",
        "What comes next",
        "2018-01-15",
        "Do its intervals hold?",
    ):
        assert words in page
    pytest.importorskip("matplotlib")
    assert (out / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_the_window_is_chosen_where_none_is_given(tmp_path):
    path, out = tmp_path / "y.csv", tmp_path / "out"
    path.write_text("\n".join(["y", *map(str, daily_temperatures(1, rng=1).values[:120, 0])]))
    result = run("forecast", path, "--season", "12", "--epochs", "1", "--hidden", "4", "--out", out)
    assert result.exit_code == 0, result.output
    model = Forecaster.load(out / "model.safetensors")
    assert model.settings["window"] is None
    page = re.sub("<[^>]*>", " ", check_page(out / "report.html"))
    assert f"window {model.window_} " in re.sub(" +", " ", page)


def test_json_holds_what_the_table_shows(series, tmp_path):
    arguments = ["forecast", series, "--column", "temperature", "--horizon", "3", "--out", tmp_path / "out", *QUICK]
    table, found = run(*arguments).stdout, json.loads(run(*arguments, "--json").stdout)
    for row in found["scores"]["temperature"]:
        line = next(line for line in table.splitlines() if line.strip().startswith(row["forecaster"]))
        assert f"{row['rmse']:#.4g}" in line
        assert f"{row['mase']:.3f}" in line
    assert [step["when"] for step in found["future"]] == ["2018-01-15", "2018-01-16", "2018-01-17"]
    assert found["horizon"] == 3
    assert all(Path(path).exists() for path in found["files"])


def test_backtest_compares_cells_and_tells_most_of_the_best(series, tmp_path, pictures):
    out = tmp_path / "out"
    options = ["--column", "temperature", "--cell", "gru", "--cell", "rnn", "--horizon", "2", "--test", "60"]
    result = run("backtest", series, *options, "--out", out, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]["temperature"]
    assert scores[0]["rmse"] == min(row["rmse"] for row in scores)
    assert {"xprnn gru", "xprnn rnn", "persistence", "AR(7)"} <= {row["forecaster"] for row in scores}
    rows = list(csv.DictReader((out / "backtest.csv").read_text().splitlines()))
    assert (len(rows), {row["actual"] == "" for row in rows}) == (59 * 2, {False})
    page = check_page(out / "report.html")
    assert f"the forecasts of {scores[0]['forecaster']} for temperature, 1 to 2 steps ahead" in page
    assert "What comes next" not in page
    assert run("backtest", series, "--column", "no", "--out", out).exit_code == 1
    refused = run("backtest", series, *options, "--refit", "often", "--out", out, *QUICK)
    assert refused.exit_code == 1
    assert "refit is 'often'" in refused.stderr


def test_quantiles_are_those_of_the_model(series, tmp_path):
    out, levels = tmp_path / "out", ["--quantile", "0.9", "--quantile", "0.1"]
    columns = ["--column", "temperature", "--column", "double"]
    result = run("forecast", series, *columns, *levels, "--horizon", "2", "--out", out, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    expected = Forecaster.load(out / "model.safetensors").predict(2, quantiles=[0.1, 0.9])
    rows = list(csv.DictReader((out / "quantiles.csv").read_text().splitlines()))
    assert [(row["when"], row["column"]) for row in rows[:3]] == [
        ("2018-01-15", "temperature"),
        ("2018-01-16", "temperature"),
        ("2018-01-15", "double"),
    ]
    found = np.array([[float(row["0.1"]), float(row["0.9"])] for row in rows]).reshape(2, 2, 2)
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, 0), rtol=1e-6)
    told = json.loads(result.stdout)
    assert [row["values"]["0.9"] for row in told["quantiles"]] == found[..., 1].ravel().tolist()
    assert str(out / "quantiles.csv") in told["files"]
    assert "10 %</th>" in check_page(out / "report.html")
    assert run("forecast", series, *columns, "--quantile", "1", "--out", out).exit_code == 2


def test_quantiles_that_are_near_each_other_have_names_of_their_own():
    levels = [0.99999991, 0.99999992]
    found = Quantiles(CsvSeries(np.ones((3, 1)), ("y",), None), levels, np.ones((1, 1, 2)))
    assert list(found.rows()[0]["values"]) == found.csv_text().splitlines()[0].split(",")[2:] == list(map(str, levels))


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="there is no such file here")
def test_a_dash_is_standard_input():
    assert INPUT.convert("-", None, None) == Path("/dev/stdin")
    assert INPUT.convert("./-", None, None) == Path("./-")


def test_a_column_known_up_to_now_helps(tmp_path):
    """y is what x was a step before, which nobody sees in y."""
    x = np.random.default_rng(0).normal(size=400)
    path, out = tmp_path / "in.csv", tmp_path / "out"
    path.write_text("y,x\n" + "\n".join(f"{a},{b}" for a, b in zip([0.0, *x[:-1]], x, strict=True)))
    options = ["--column", "y", "--out", out, "--json", "--test", "100", *QUICK]
    rmse, told = [], None
    for command, past in (("forecast", []), ("forecast", ["--past", "x"]), ("backtest", ["--past", "x"])):
        result = run(command, path, *options, *past)
        assert result.exit_code == 0, result.output
        told = told if command == "backtest" else json.loads(result.stdout)
        scores = json.loads(result.stdout)["scores"]["y"]
        rmse += [row["rmse"] for row in scores if row["forecaster"] == "xprnn lstm"]
    assert rmse[1] < 0.5 * rmse[0]
    assert rmse[2] == rmse[1]
    assert told["future"][0]["values"]["y"] == pytest.approx(x[-1], abs=0.6)
    assert "known up to now" in check_page(out / "report.html")
    assert "say by --column what" in run("forecast", path, "--past", "x").stderr
    assert "y is forecast" in run("forecast", path, "--column", "y", "--past", "y").stderr


def test_a_column_known_beforehand_helps(tmp_path):
    """y is what x is, and x is known for three rows more."""
    x = np.random.default_rng(0).normal(size=303)
    path, out = tmp_path / "in.csv", tmp_path / "out"
    path.write_text("y,x,z\n" + "\n".join(f"{a},{b},{a}" for a, b in zip([*x[:-3], *3 * [""]], x, strict=True)))
    options = ["--column", "y", "--out", out, "--test", "60", *QUICK]
    result = run("forecast", path, "--future", "x", "--past", "z", "--horizon", "3", "--json", *options)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [row["values"]["y"] for row in told["future"]] == pytest.approx(x[-3:], abs=0.2)
    rmse = {row["forecaster"]: row["rmse"] for row in told["scores"]["y"]}
    assert rmse["xprnn lstm"] < 0.2 * rmse["persistence"]
    assert "known beforehand" in check_page(out / "report.html")
    assert run("backtest", path, "--future", "x", *options).exit_code == 0
    for wrong, words in (
        (["--future", "x", "--horizon", "4"], "--horizon is 4, but the file knows --future for 3 rows in which y is"),
        (["--future", "y"], "y is forecast"),
        (["--future", "x", "--past", "x"], "x is given by --past and by --future"),
        (["--future", "z"], "line 302, column 'z': '' is not a finite number"),
        (["--past", "x"], "line 302, column 'y': '' is not a finite number"),
    ):
        assert words in " ".join(run("forecast", path, *wrong, *options).stderr.split()), wrong


def test_a_test_part_too_short_for_intervals(series, tmp_path):
    options = ["--column", "temperature", "--test", "5", "--out", tmp_path]
    assert run("forecast", series, *options, *QUICK).exit_code == 0
    assert "The test part is too short" in check_page(tmp_path / "report.html")


def test_several_columns_and_direct_strategy(series, tmp_path):
    columns = ["--column", "temperature", "--column", "double"]
    options = ["--horizon", "2", "--strategy", "direct", "--cell", "gru", "--out", tmp_path / "out"]
    result = run("forecast", series, *columns, *options, *QUICK)
    assert result.exit_code == 0, result.output
    assert "double:" in result.stdout
    assert "xprnn gru" in result.stdout


def test_without_dates_and_without_season(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("y\n" + "\n".join(str(v) for v in np.sin(np.arange(200))))
    result = run("forecast", path, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert "give --season" in result.stderr
    assert "seasonal naive" not in result.stdout
    assert "seasonal naive (6)" in run("forecast", path, "--season", "6.28", "--out", tmp_path / "out", *QUICK).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "tmp"], "no column 'tmp'; the header has 'day', 'temperature', 'double'"),
        ([], "say which column to forecast; columns of numbers: 'temperature', 'double'"),
        (["--column", "double", "--test", "2000"], "test is 2000.0; expected a share"),
        (["--column", "double", "--test", "1.5"], "test is 1.5; expected a share"),
        (["--column", "double", "--test", "nan"], "test is nan; expected a share"),
        (["--column", "double", "--quantile", "nan"], "Error: forecast: --quantile is nan"),
        (["--column", "double", "--season", "inf"], "is inf; expected a length above 1"),
        (["--column", "double", "--seed", "-1"], "seed is -1"),
        (["--column", "double", "--hidden", "10000000000000"], "hidden_size is 10000000000000"),
        (["--column", "double", "--window", "5000"], "needs at least"),
        (["--column", "double", "--horizon", "0"], "horizon is 0"),
        (["--column", "double", "--season", "0.5"], "periods"),
    ],
)
def test_errors_are_one_line(series, tmp_path, arguments, message):
    result = run("forecast", series, "--out", tmp_path / "out", "--epochs", "1", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert "epoch 1" not in result.stderr  # before the work
    assert list((tmp_path / "out").glob("*")) == [] if (tmp_path / "out").exists() else True


def test_missing_dates_are_told_and_filled(series, tmp_path):
    lines = series.read_text().splitlines()
    series.write_text("\n".join(lines[:100] + lines[103:]) + "\n")
    arguments = ["forecast", series, "--column", "double", "--season", "7", "--out", tmp_path / "out", *QUICK]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "3 of 1096 rows are missing (one row every day): 2015-04-24, 2015-04-25, 2015-04-26" in result.stderr
    assert "\n1093 rows" in result.stderr
    result = run(*arguments, "--fill", "linear")
    assert result.exit_code == 0, result.output
    assert "they are filled by fill='linear'" in result.stderr
    assert "\n1096 rows" in result.stderr
    result = run(*arguments, "--fill", "refuse")
    assert result.exit_code == 1
    assert "3 of 1096 rows are missing" in result.stderr


def test_missing_file_and_bad_value(tmp_path):
    assert "No such file" in run("forecast", tmp_path / "none.csv").stderr
    path = tmp_path / "bad.csv"
    path.write_text("day,y\n2020-01-01,1\n2020-01-02,oops\n")
    assert "line 3, column 'y': 'oops' is not a finite number" in run("forecast", path).stderr


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named_before_the_work(series, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o500)
    result = run("forecast", series, "--column", "double", "--out", folder)
    assert result.exit_code == 1
    assert f"cannot write to the folder {folder}" in result.stderr


def test_the_input_is_not_overwritten(series, tmp_path):
    source = series.rename(tmp_path / "forecast.csv")
    before = source.read_bytes()
    result = run("forecast", source, "--column", "double", "--out", tmp_path, *QUICK)
    assert result.exit_code == 2
    assert "would be overwritten: give another --out" in result.stderr
    assert source.read_bytes() == before


def test_an_output_path_that_is_a_file_loses_nothing(series, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("precious")
    result = run("forecast", series, "--column", "double", "--out", taken, *QUICK)
    assert result.exit_code == 1
    assert taken.read_text() == "precious"


@pytest.mark.parametrize(
    ("command", "name"), [("forecast", "forecast.png"), ("forecast", "report.html"), ("backtest", "backtest.csv")]
)
def test_a_folder_in_the_place_of_a_file_is_named_before_the_work(command, name, series, tmp_path):
    (tmp_path / "out" / name).mkdir(parents=True)
    result = run(command, series, "--column", "double", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 1
    assert re.fullmatch(f"Error: .*{name} is a folder; expected the name of a file to write\n", result.stderr)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_files_are_written_though_nobody_reads_what_is_printed(series, tmp_path, monkeypatch):
    def gone(message=None, err=False, **_):
        if not err:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("click.echo", gone)
    result = run("forecast", series, "--column", "double", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 1
    assert "Broken pipe" not in result.output
    assert {"forecast.csv", "model.safetensors", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_failing_write_keeps_the_old_files(series, tmp_path, monkeypatch):
    out, arguments = tmp_path / "out", ["forecast", series, "--column", "double", *QUICK]
    run(*arguments, "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run(*arguments, "--seed", "5", "--out", out)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_without_matplotlib_all_else_is_written(series, tmp_path, monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("forecast", series, "--column", "double", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert "pip install 'xprnn[plot]'" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "forecast.csv",
        "model.safetensors",
        "report.html",
    ]
    assert "A picture is missing here: drawing needs matplotlib" in check_page(tmp_path / "out" / "report.html")


def test_cupy_that_is_not_there(series, tmp_path):
    from xprnn import available_backends, default_backend

    if not available_backends()["cupy"]:
        pytest.skip("CuPy works here")
    result = run("forecast", series, "--column", "double", "--backend", "cupy", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "backend 'cupy' cannot be used" in result.stderr
    assert default_backend().name == "numpy"


def test_a_picture_that_fails_costs_nothing_else(series, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug in the plotting library")

    monkeypatch.setattr("xprnn.cli.forecast_command.draw_forecast", fail)
    result = run("forecast", series, "--column", "double", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert "no picture of double: a bug in the plotting library" in result.stderr
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_column_names_with_dollar_signs(series, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "odd.csv"
    path.write_text(series.read_text().replace("double", "$x_{$"))
    result = run("forecast", path, "--column", "$x_{$", "--out", tmp_path / "out", *QUICK)
    assert (result.exit_code, result.stderr.count("no picture")) == (0, 0), result.output


def test_json_of_a_constant_series_has_no_nan(tmp_path):
    path = tmp_path / "constant.csv"
    path.write_text("y\n" + "7\n" * 100)
    result = run("forecast", path, "--json", "--out", tmp_path / "out", *QUICK)
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert found["scores"]["y"][0]["mase"] is None
    assert found["future"][0]["values"]["y"] == 7.0


def test_long_reports_take_linear_time():
    """Labels of rows past the end once cost a walk over all dates each."""
    few, many = daily_temperatures(3), daily_temperatures(30)
    rows = lambda source: range(len(source.values) - 50, len(source.values) + 50)
    labels = lambda source: [source.label(row) for row in rows(source)]
    assert len(set(labels(few))) == len(set(labels(many))) == 100  # what is found out once is known now
    assert lines_run(lambda: labels(many)) <= 1.1 * lines_run(lambda: labels(few))


def test_warmup(tmp_path):
    result = run("warmup")
    assert result.exit_code == 0, result.output
    assert "runs" in result.stdout


def test_demo(tmp_path):
    result = run("demo", "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert "temperature: 438 forecasts" in result.stdout


def test_info():
    result = run("info")
    assert result.exit_code == 0, result.output
    for part in ("xprnn 0.", "numpy: ready, CPU", "cupy:", "reference", "numba", "GRU, T=2 B=1 I=2"):
        assert part in result.stdout


def test_info_with_a_wrong_environment(monkeypatch):
    monkeypatch.setattr("xprnn.settings.BACKEND._standing", {})
    monkeypatch.setenv("XPRNN_BACKEND", "cuda")
    result = run("info")
    assert result.exit_code == 1
    assert "environment variable XPRNN_BACKEND: backend 'cuda' is unknown" in result.stderr


@pytest.mark.skipif(not MELBOURNE.exists(), reason="the Melbourne series is not part of the project")
def test_melbourne_temperatures_beat_autoregression(tmp_path):
    result = run("forecast", MELBOURNE, "--column", "Temp", "--test", "0.2", "--json", "--out", tmp_path / "out")
    rmse = {row["forecaster"]: row["rmse"] for row in json.loads(result.stdout)["scores"]["Temp"]}
    assert rmse["persistence"] == pytest.approx(2.481, abs=5e-4)
    assert rmse["AR(7)"] == pytest.approx(2.240, abs=5e-4)
    assert rmse["AR(29)"] == pytest.approx(2.211, abs=5e-4)
    assert rmse["xprnn lstm"] < rmse["AR(7)"]
