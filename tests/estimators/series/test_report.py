"""What a forecasting run writes: files read back exactly, tables are for people."""

import csv
import json

import numpy as np
import pytest

from xprnn.data import CsvSeries
from xprnn.estimators import Persistence, backtest
from xprnn.estimators.series.report import ForecastReport, readable

AWKWARD = [
    12345712.56,
    12345713.57,
    0.1 + 0.2,
    1 / 3,
    1e150,
    -1e-300,
    5e-324,
    2.0**53 + 2,
    -0.0,
    123456789012345.6,
    7.0,
]


def report_of(values):
    source = CsvSeries(np.asarray(values, np.float64)[:, None], ("y",), None)
    found = backtest([Persistence()], source.values, test=len(values) - 1)
    return ForecastReport(source, found, np.array([[0.1], [values[-1]]]))


def test_what_is_written_reads_back_to_the_same_float():
    report = report_of(AWKWARD)
    rows = list(csv.DictReader(report.csv_text().splitlines()))
    assert [float(row["actual"]) for row in rows[:-2]] == AWKWARD[1:]
    assert [float(row["persistence"]) for row in rows] == [*AWKWARD[:-1], 0.1, 7.0]
    assert [step["values"]["y"] for step in json.loads(json.dumps(report.as_json()))["future"]] == [0.1, 7.0]


def test_float32_forecasts_have_no_digits_that_they_do_not_know():
    report = report_of([1.0, 2.0, 3.0])
    report.backtest.forecasts["persistence"] = np.full((2, 1, 1), 0.1, np.float32)
    said = [row["persistence"] for row in csv.DictReader(report.csv_text().splitlines())][:2]
    assert said == ["0.1", "0.1"]
    assert np.float32(said[0]) == np.float32(0.1)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2.1861, "2.186"),
        (0.043118, "0.04312"),
        (9999.4, "9999."),
        (12345712.56, "12345713"),
        (-12345712.56, "-12345713"),
        (1.5e15, "1.500e+15"),
        (0.0, "0.000"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_in_tables(number, text):
    assert readable(number) == text


def test_a_table_of_large_numbers_keeps_them():
    table = report_of([0.0, 12345712.56, 12345713.0, 12345799.0]).table()
    assert " 7127800 " in table  # sqrt((12345712.56^2 + 0.44^2 + 86^2) / 3)
