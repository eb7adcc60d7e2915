"""Reading CSV files: what comes out, and what each kind of damage is called."""

import re
from datetime import datetime

import numpy as np
import pytest

from xprnn.data.csv_rows import parse_date
from xprnn.data.csv_series import read_csv
from xprnn.data.long_csv import read_long_csv
from xprnn.data.synthetic import daily_temperatures
from xprnn.data.text_file import read_table
from xprnn.data.text_stream import TextFile

GOOD = 'Date,Temp,Rain,Note\n1981-01-01,20.7,0,"warm, dry"\n1981-01-02,17.9,1.5,\n1981-01-03,18.8,0,\n'

GAPS = "when,y,z\n2020-01-01,1,10\n2020-01-02,2,20\n2020-01-03,3,30\n2020-01-05,7,50\n"
NO_RULE = "when,y\n2020-01-01 00:00:01,1\n2020-01-01 00:17:03,2\n2020-01-01 01:00:00,5\n2020-01-05 12:00:00,3\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="series.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content.encode(encoding))
        return path

    return write


def test_columns_and_dates(write):
    series = read_csv(write(GOOD), ["Rain", "Temp"])
    np.testing.assert_array_equal(series.values, [[0, 20.7], [1.5, 17.9], [0, 18.8]])
    assert series.columns == ("Rain", "Temp")
    assert series.calendar.dates[2] == datetime(1981, 1, 3)
    assert [series.label(row) for row in (0, 2, 4)] == ["1981-01-01", "1981-01-03", "1981-01-05"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(write, delimiter):
    series = read_csv(write(f"\ufeffwhen{delimiter}y\n2020-01-01 06:00{delimiter}1\n2020-01-01 07:00{delimiter}2\n"))
    assert series.columns == ("y",)
    assert series.label(2) == "2020-01-01 08:00:00"


def test_separators_in_quotes_part_nothing(write):
    series = read_csv(write('when;"wind, rain, sun, all"\n2020-01-01;1\n2020-01-02;2\n'))
    assert (series.columns, series.label(2)) == (("wind, rain, sun, all",), "2020-01-03")


@pytest.mark.parametrize("behind", ["", "\n;\n", "2020-01-03;3"])
def test_what_parts_all_rows_alike_is_the_separator(write, behind):
    series = read_csv(write("date;T [C, mean, 2 m, hourly]\n2020-01-01;1\n2020-01-02;2\n" + behind))
    assert series.columns == ("T [C, mean, 2 m, hourly]",)
    assert series.values[:2].tolist() == [[1], [2]]


def test_a_line_above_the_header_may_name_the_separator(write):
    for head, mark in (("sep=;", ";"), ('"sep=|"', "|"), ("\ufeffSEP=\t", "\t")):
        path = write(f"{head}\r\ntext{mark}label\r\n1,5{mark}2\r\n2{mark}4\r\n")
        with pytest.raises(ValueError, match="line 3, column 'text': '1,5' is not a finite number with a decimal"):
            read_csv(path, ["text", "label"])
        assert read_csv(path, ["label"]).values.tolist() == [[2], [4]]
        assert read_table(path).lines == (3, 4)
        assert list(TextFile(path)) == [("1,5", "2"), ("2", "4")]


@pytest.mark.parametrize("read", [read_csv, read_long_csv])
def test_integers_that_float64_does_not_tell_apart_are_refused(write, read):
    path = write("v\n9007199254740993\n1e300\n9007199254740992\n")
    with pytest.raises(ValueError, match="'v' has 9007199254740992 and 9007199254740993, which float64 does not tell"):
        read(path, columns=["v"])
    read(write("v\n9007199254740992\n9007199254740994\n"), columns=["v"])


def test_where_no_separator_parts_all_rows_alike_it_is_the_most_common_of_the_header(write):
    with pytest.raises(ValueError, match="line 3 has 4 cells, the header has 3"):
        read_csv(write("a;b,c,d\n1;1,2,3\n1;1,2,3,4;5\n"), ["c"])


@pytest.mark.parametrize("behind", ["   \n", ",\n,\n", "\n \t \n,,\n".replace(",,", ",")])
def test_lines_of_nothing_at_the_end_are_no_rows(write, behind):
    np.testing.assert_array_equal(read_csv(write("a,b\n1,5\n2,6\n" + behind), ["a"]).values, [[1], [2]])


def test_a_first_column_of_names_is_not_taken_for_dates(write):
    assert read_csv(write("who,y\nMarch Hare,1\nMay 4th be,2\n")).calendar is None


@pytest.mark.parametrize("name", ["2020-0001", "12:30:00", "1.2.3.4", "2020.01", "M2", "555-2020-1", "Tom 1990 b"])
def test_other_names_of_rows_are_not_taken_for_dates(write, name, recwarn):
    assert read_csv(write(f"who,y\n{name},1\n{name}2,2\n"), ["y"]).calendar is None
    assert not recwarn


def test_the_only_column_of_numbers_needs_no_name(write):
    series = read_csv(write("y\n1\n2\n3\n"))
    assert series.calendar is None
    assert (series.columns, series.label(7)) == (("y",), "7")


def test_a_column_of_years_is_not_taken_for_dates(write):
    assert read_csv(write("year,y\n2020,1\n2021,2\n"), ["y"]).calendar is None


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (GOOD, {"columns": ["Tmp"]}, "no column 'Tmp'; the header has 'Date', 'Temp', 'Rain', 'Note'"),
        (GOOD, {"columns": ["Temp"], "date": "Day"}, "no column 'Day' for dates"),
        (GOOD, {}, "say which column to forecast; columns of numbers: 'Temp', 'Rain'"),
        (GOOD, {"columns": ["Note"]}, "line 2, column 'Note': 'warm, dry' is not a finite number"),
        (GOOD.replace("17.9", "nan"), {"columns": ["Temp"]}, "line 3, column 'Temp': 'nan' is not a finite number"),
        (GOOD.replace("17.9", ""), {"columns": ["Temp"]}, "line 3, column 'Temp': '' is not a finite number"),
        (GOOD.replace("17.9", "inf"), {"columns": ["Temp"]}, "line 3, column 'Temp': 'inf' is not a finite number"),
        (
            GOOD.replace("1981-01-03", "3 Jan"),
            {"columns": ["Temp"]},
            "line 4, column 'Date': '3 Jan' is not an ISO 8601",
        ),
        (
            GOOD.replace("1981-01-03", "1980-01-03"),
            {"columns": ["Temp"]},
            "1980-01-03 does not come after the row before, 1981-01-02 00:00:00: sort the rows by date",
        ),
        (
            GOOD.replace("1981-01-03", "1981-01-02"),
            {"columns": ["Temp"]},
            "line 4, column 'Date': 1981-01-02 is there twice",
        ),
        (
            "when,y\n2020-10-25 01:00,1\n2020-10-25 02:00,2\n2020-10-25 02:00,3\n",
            {},
            "line 4, column 'when': 2020-10-25 02:00 is there twice; where clocks are set back, write dates with their",
        ),
        ("y\n1\n2\n", {"fill": "linear"}, "fill is 'linear', but there are no dates to tell what is missing"),
        (GOOD, {"fill": "nearest"}, "read_csv: fill is 'nearest'; expected one of 'previous', 'linear', 'refuse'"),
        (GAPS, {"columns": ["y"], "fill": "refuse"}, "1 of 5 rows are missing (one row every day): 2020-01-04"),
        (NO_RULE, {"fill": "linear"}, "series.csv: the dates follow no rule, so that nobody knows which are missing"),
        (NO_RULE, {"fill": "refuse"}, "series.csv: the dates follow no rule: rows are counted as steps"),
        (GOOD.replace("17.9,1.5,", "17.9"), {"columns": ["Temp"]}, "line 3 has 2 cells, the header has 4"),
        ("", {}, "expected a header and at least two rows, found 0 lines"),
        ("y\n1\n", {}, "expected a header and at least two rows, found 2 lines"),
        ('a,b\n"1,2\n', {}, "line 2: unexpected end of data"),
        ("1,2\n3,4\n5,6\n", {}, "line 1 holds only numbers and dates; expected a header"),
        ("2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n", {}, "line 1 holds only numbers and dates; expected a header"),
        ("2020-01-01,1,\n2020-01-02,2,\n2020-01-03,3,\n", {"columns": ["1"]}, "line 1 holds only numbers and dates"),
        ("when,when,y\n2020-01-01,5,1\n2020-01-02,6,2\n", {"date": "when"}, "more than one column 'when'"),
        ("when,y\nJan 2020,1\nFeb 2020,2\n", {}, "line 2, column 'when': 'Jan 2020' is not an ISO 8601 date"),
        ("when,y\n5-Mar-20,1\n6-Mar-20,2\n", {}, "line 2, column 'when': '5-Mar-20' is not an ISO 8601 date"),
        ("when,y\n01/2020,1\n02/2020,2\n", {}, "line 2, column 'when': '01/2020' is not an ISO 8601 date"),
        *(
            (f'when,y\n"{text}",1\nlater,2\n', {}, f"line 2, column 'when': {text!r} is not an ISO 8601 date")
            for text in (
                "2020M01",
                "2020 Jan",
                "Q1 2020",
                "2020 01 31",
                "2020_01_31",
                "2020年1月31日",
                "Sat Jan 01 2022",
                "Wednesday, 28 February 2024",
                "2020.01.31",
                "31.12.20",
                "01/01/20 23:00",
                "2020-01-01 06:00 AM",
                "2020-01-01 06:00:00.123 UTC",
            )
        ),
        ("when;y\n2020-01-01;1,5\n2020-01-02;2,5\n", {"columns": ["y"]}, "'1,5' is not a finite number with a decimal"),
        ("a,b\n1,2\n,\n3,4\n", {"columns": ["a"]}, "line 3, column 'a': '' is not a finite number"),
        ("t,t\n3,4\n5,6\n", {"columns": ["t"]}, "more than one column 't'"),
        ("when,y\n01/31/2020,1\n01/30/2020,2\n", {}, "line 2, column 'when': '01/31/2020' is not an ISO 8601 date"),
        ("y;z\n10,942;a\n10,95;b\n", {}, "columns of numbers: none, in line 2: '10,942', 'a'"),
        ("y\n1_000\n2\n", {"columns": ["y"]}, "line 2, column 'y': '1_000' is not a finite number"),
    ],
)
def test_damage_is_named(write, content, options, message):
    with pytest.raises(ValueError) as error:
        read_csv(write(content), **options)
    assert message in str(error.value)


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_csv(write("y\n1 °C\n", encoding="latin-1"))


def test_generated_temperatures_are_what_they_say():
    series = daily_temperatures(20, rng=0)
    t = np.arange(len(series.values))
    weather = series.values[:, 0] - 11 - 6 * np.cos(2 * np.pi * t / 365.25)
    shocks = weather[1:] - 0.6 * weather[:-1]
    assert abs(shocks.std() - 2.2) < 0.05
    assert abs(np.corrcoef(shocks[1:], shocks[:-1])[0, 1]) < 0.05
    assert np.array_equal(series.values, daily_temperatures(20, rng=0).values)


def test_missing_dates_are_told(write):
    with pytest.warns(
        UserWarning, match=r"1 of 5 rows are missing \(one row every day\): 2020-01-04; rows are counted"
    ):
        series = read_csv(write(GAPS), ["y"])
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3, 7])
    assert [series.label(row) for row in (3, 4)] == ["2020-01-05", "2020-01-06"]


@pytest.mark.parametrize(("fill", "rows"), [("linear", [5.0, 40.0]), ("previous", [3.0, 30.0])])
def test_missing_dates_are_filled(write, fill, rows):
    with pytest.warns(UserWarning, match=f"2020-01-04; they are filled by fill='{fill}'"):
        series = read_csv(write(GAPS), ["y", "z"], fill=fill)
    np.testing.assert_array_equal(series.values[2:], [[3, 30], rows, [7, 50]])
    assert [series.label(row) for row in (3, 4, 5)] == ["2020-01-04", "2020-01-05", "2020-01-06"]


@pytest.mark.parametrize(("fill", "rows"), [("linear", [2.0, 3.0, 4.0]), ("previous", [1.0, 1.0, 1.0])])
def test_missing_values_are_filled_as_missing_dates_are(write, fill, rows):
    dated = "when,y,x\n2020-01-01,1,0\n2020-01-02,NA,0\n2020-01-04,,0\n2020-01-05,5,0\n2020-01-06,6,0\n"
    told = rf"column 'y': 2 of 5 values are missing, the first in line 3; they are filled by fill='{fill}'"
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match="2020-01-03; they are filled"):
        series = read_csv(write(dated), ["y"], fill=fill)
    assert series.values[:, 0].tolist() == [1, *rows, 5, 6]
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match="2020-01-03; they are filled"):
        ahead = read_csv(write(dated + "2020-01-07,,1\n"), ["y", "x"], fill=fill, ahead=["x"])
    np.testing.assert_array_equal(ahead.values.T, [[1, *rows, 5, 6, np.nan], [0, 0, 0, 0, 0, 0, 1]])
    with pytest.warns(UserWarning, match="3 of 5 values are missing"):
        assert read_csv(write("y\n1\n-\nnan\nnull\n5\n"), fill=fill).values[:, 0].tolist() == [1, *rows, 5]


def test_values_that_nothing_fills_are_named(write):
    for text, fill, told in (
        ("a,y\n1,\n2,1\n", "previous", "column 'y': line 2 has no value, and none before it to fill it from"),
        ("a,y\n1,1\n2,\n", "linear", "column 'y': line 3 has no value, and none behind it to fill it from"),
        ("a,y\n1,1\n2,\n", "refuse", "line 3, column 'y': '' is not a finite number: .*a Forecaster also takes NaN"),
    ):
        with pytest.raises(ValueError, match=told):
            read_csv(write(text), ["y"], fill=fill)


@pytest.mark.parametrize("fill", [None, "linear", "previous", "refuse"])
def test_nothing_is_said_where_nothing_is_missing(write, fill, recwarn):
    assert len(read_csv(write(GOOD), ["Temp"], fill=fill).values) == 3
    assert not recwarn


def test_dates_without_a_rule_are_told(write):
    with pytest.warns(UserWarning, match="the dates follow no rule: rows are counted as steps"):
        series = read_csv(write(NO_RULE))
    assert (series.label(3), series.label(4), series.periods()) == ("2020-01-05 12:00:00", "4", ())


def test_columns_that_are_known_for_longer(write):
    path = write("day,y,x\n2020-01-01,1,5\n2020-01-02,2,6\n2020-01-03,3,7\n2020-01-05,,8\n2020-01-06,,9\n")
    with pytest.warns(UserWarning, match="filled"):
        found = read_csv(path, ["y", "x"], ahead=["x"], fill="linear")
    np.testing.assert_array_equal(found.values[:, 0], [1, 2, 3, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found.values[:, 1], [5, 6, 7, 7.5, 8, 9])
    for text, line in (("y,x\n1,1\n,2\n3,3\n,4\n", 3), ("y,x\n,1\n,2\n", 2), ("y,x\n1,1\n,\n2,2\n", 3)):
        with pytest.raises(ValueError, match=f"line {line}, column '.': '' is not a finite number"):
            read_csv(write(text), ["y", "x"], ahead=["x"])
    with pytest.raises(ValueError, match=r"read_csv: ahead has 'z'; expected some of the columns y, x"):
        read_csv(path, ["y", "x"], ahead=["z"])
    with pytest.raises(TypeError, match="read_csv: ahead is 'x'; expected a list of names"):
        read_csv(path, ["y", "x"], ahead="x")


def test_one_name_is_no_list_of_names(write):
    with pytest.raises(TypeError, match="read_csv: columns is 'Temp'; expected a list of names"):
        read_csv(write(GOOD), "Temp")


def test_quarters_and_years(write):
    assert read_csv(write("when,y\n2020-Q3,1\n2020-Q4,2\n2021Q1,3\n")).label(3) == "2021-04-01"
    assert read_csv(write("year,y\n2020,1\n2021,2\n2022,2\n"), ["y"], date="year").label(3) == "2023-01-01"
    days = read_csv(write("day,y\n20240228,1\n20240229,2\n20240301,3\n"), ["y"], date="day")
    assert days.label(3) == "2024-03-02"
    with pytest.raises(ValueError, match="line 3, column 'day': '20240230' is not an ISO 8601 date"):
        read_csv(write("day,y\n20240228,1\n20240230,2\n"), ["y"], date="day")


def test_days_of_a_year_and_midnight_at_the_end_of_a_day(write):
    assert read_csv(write(column("day", ["2023-364", "2023-365", "2024-001"])), ["v"], "day").label(3) == "2024-01-02"
    hours = ["2024-02-29T23:00Z", "2024-02-29T24:00Z", "2024-03-01T01:00Z"]
    assert read_csv(write(column("when", hours)), ["v"]).label(1) == "2024-03-01 00:00:00+00:00"
    for text in ("2024-02-29T24", "20240229T2400", "2024-02-29 24:00:00.0"):
        assert parse_date(text) == datetime(2024, 3, 1)
    for text in ("2024-366-1", "2023-366", "2024-01-01 24:01", "9999-12-31 24:00", "20200131.12"):
        assert parse_date(text, digits=True) is None


def test_cells_without_a_number_are_told_what_to_do_about(write):
    for cell in ("", "NA", "n/a", "-", "null", "#N/A", "nan"):
        with pytest.raises(ValueError, match="line 3, column 'v': .*is not a finite number: leave out rows without"):
            read_csv(
                write(column("day", ["2024-01-01", "2024-01-02"]).replace(",1", f",{cell}").replace("-0,", "-01,"))
            )


def test_points_that_seem_to_part_thousands_are_told_of(write, recwarn):
    for cells in (
        "12.500;13;12.25",
        "0.987;1.012;1",
        "1.012;1.105;1.130",
        "987;1012;990",
        "1.012;12;1400",
        "1.000;2;1.500",
    ):
        read_csv(write("v\n" + cells.replace(";", "\n")))
    assert not recwarn.list
    for read in (read_csv, read_long_csv):
        with pytest.warns(UserWarning, match="column 'v' has 1.012 beside 987: points are taken for decimal ones"):
            read(write("d;v\n2024-01-01;987\n2024-01-02;1.012\n2024-01-03;1.105\n"), columns=["v"])


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (
            "1.5;-999;2;-999",
            "has -999 in 2 rows, and all others lie from 1.5 to 2: where it stands for a missing value",
        ),
        ("15;9999;-20", "has 9999 in 1 row"),
        ("1500;-9999;2000", "has -9999 in 1 row"),
        ("15;999.9;20", "has 999.9 in 1 row"),
        ("1500;9999;2000", None),
        ("-5;-999;-200", None),
        ("15;1000;20", None),
        ("999;999;999", None),
        ("5;99;7", None),
    ],
)
def test_numbers_that_may_stand_for_missing_values_are_told_of(write, recwarn, cells, told):
    path = write("v\n" + cells.replace(";", "\n"))
    for read in (read_csv, read_long_csv):
        if told is None:
            read(path, columns=["v"])
        else:
            with pytest.warns(UserWarning, match=rf"series.csv: column 'v' {told}"):
                read(path, columns=["v"])
    assert not recwarn.list


def test_spans_are_their_first_dates_and_quarters_are_no_names(write):
    weeks = "when,y\n2024-01-01/2024-01-07,1\n2024-01-08/2024-01-14,2\n2024-01-15/2024-01-21,3\n"
    assert read_csv(write(weeks)).label(3) == "2024-01-22"
    for text in ("2024-01-08/2024-01-01", "2024-01-01/07", "2024-01-01/2024-01-08T00:00Z", "2024/2025", "2024-01-01/"):
        assert parse_date(text) is None
    for text in ("1Q24", "Q1 24", "Q1'24", "4q2024", "2024 Q1"):
        with pytest.raises(ValueError, match="line 2, column 'when': .* is not an ISO 8601 date"):
            read_csv(write(f"when,y\n{text},1\n{text},2\n"))


def test_months_and_utc_are_dates(write):
    assert read_csv(write("when,y\n1949-01,1\n1949-02,2\n")).label(2) == "1949-03-01"
    assert read_csv(write("when,y\n2020-01-01T00:00:00Z,1\n2020-01-01T01:00:00Z,2\n")).calendar is not None


def test_quoted_line_breaks_and_leading_blank_lines(write):
    series = read_csv(write('\n\nnote;y\n"two\nlines\u2028more";1\nb;2\n'), ["y"])
    np.testing.assert_array_equal(series.values[:, 0], [1, 2])


def test_a_header_may_begin_with_an_empty_cell(write):
    series = read_csv(write("  \n\n\tT [C, mean]\n0\t1\n1\t2\n"), ["T [C, mean]"])
    assert series.values.tolist() == [[1], [2]]


def test_dates_that_are_not_in_the_first_column_are_told_of(tmp_path, recwarn):
    path = tmp_path / "in.csv"
    path.write_text("v,made\n1,2024-01\n2,2024-01\n3,2024-02\n")  # not those of the rows
    assert read_csv(path, ["v"]).calendar is None
    assert not recwarn.list
    path.write_text(",day,v\n0,2024-01-01,1\n1,2024-01-02,2\n")
    with pytest.warns(UserWarning, match="column 'day' holds dates, and is not the first: .*date='day', --date day"):
        assert read_csv(path, ["v"]).calendar is None
    assert read_csv(path, ["v"], "day").label(2) == "2024-01-03"
    path.write_text("v,the day\n1,2024-01-01\n2,2024-01-02\n")
    with pytest.warns(UserWarning, match="date='the day', --date 'the day' takes them"):
        read_csv(path, ["v"])
    path.write_text("day,v\n20240101,1\n20240102,2\n")
    with pytest.warns(UserWarning, match="'day' holds dates, which are digits alone: rows are numbered.* --date day"):
        read_csv(path, ["v"])
    path.write_text("v,day\n1,31.01.2024\n2,01.02.2024\n")
    with pytest.warns(UserWarning, match="such as '31.01.2024', which is no form that is read.*write them as YYYY-MM"):
        read_csv(path, ["v"])


HOURS = [1672531200 + 3600 * k for k in range(5)]  # from 2023-01-01 on


def column(head, cells):
    return f"{head},v\n" + "".join(f"{cell},{k}\n" for k, cell in enumerate(cells))


@pytest.mark.parametrize(
    ("cells", "first", "last"),
    [
        (HOURS, "2023-01-01 00:00:00+00:00", "2023-01-01 05:00:00+00:00"),
        ([f"{hour}000" for hour in HOURS], "2023-01-01 00:00:00+00:00", "2023-01-01 05:00:00+00:00"),
        ([f"{hour}000000" for hour in HOURS], "2023-01-01 00:00:00+00:00", "2023-01-01 05:00:00+00:00"),
        (
            [f"{hour}250000999" for hour in HOURS],
            "2023-01-01 00:00:00.250000+00:00",
            "2023-01-01 05:00:00.250000+00:00",
        ),
        ([f"{hour}.25" for hour in HOURS], "2023-01-01 00:00:00.250000+00:00", "2023-01-01 05:00:00.250000+00:00"),
        ([HOURS[0] + 3600 * k for k in range(200)], "2023-01-01 00:00:00+00:00", "2023-01-09 08:00:00+00:00"),
        (["2023010110", "2023010111"], "2023-01-01 10:00:00", "2023-01-01 12:00:00"),
        (["202301011030", "202301011045"], "2023-01-01 10:30:00", "2023-01-01 11:00:00"),
        (["20230101103000", "20230101103001"], "2023-01-01 10:30:00", "2023-01-01 10:30:02"),
    ],
)
def test_a_column_that_is_named_may_hold_seconds_since_1970_or_dates_of_digits(write, cells, first, last):
    found = read_csv(write(column("t", cells)), ["v"], "t")
    assert (found.label(0), found.label(len(cells))) == (first, last)


@pytest.mark.parametrize(
    ("head", "cells", "told"),
    [
        ("made", HOURS, "'made' holds what seem to be Unix times in s: .*--date made takes them"),
        ("x", [f"{hour}000000" for hour in HOURS], "what seem to be Unix times in us: "),
        ("ts", [HOURS[0], HOURS[0] + 0.5, HOURS[3]], "what seem to be Unix times in s: "),
        ("date", [45231 + k / 4 for k in range(5)], "'date' holds what seem to be days of a spreadsheet: .*YYYY-MM-DD"),
        ("year", range(1990, 1995), "'year' holds what seem to be years: .*--date year takes them"),
        ("clock", ["13:30", "13:45", "14:00"], "times of a day, such as '13:30', without the day: .*write them as"),
        ("hour", ["1:30 PM", "1:45 PM", "2:00 PM"], "times of a day, such as '1:30 PM'"),
        ("month", [199911, 199912, 200001], "'month' holds what may be times, such as '199911', in no form that is"),
        ("day", [30, 31, 1], "'day' holds what may be times, such as '30'"),
        ("period", ["FY1999", "FY2000", "FY2001"], "'period' holds what may be times, such as 'FY1999'"),
        ("time", ["2023-01-01T00:00[UTC]", "2023-01-01T01:00[UTC]"], "'time' holds what may be times"),
        ("time", [0.0, 0.1, 0.4], "'time' holds what may be times, such as '0.0'"),
        ("time", [0, 1, 2, 3], None),  # they are rows
        ("week", [1, 2, 3, 5, 6, 9], r"'week' holds times that are numbers, and 3 of 9 rows are missing \(.*: 4, 7, 8"),
        ("id", [1672531200, 1672531204, 1672531999], None),
        ("km", range(45231, 45236), None),
        ("day_rate", range(45231, 45236), None),
        ("sales per day", range(45231, 45236), None),
        ("year", [1981.0, 1981.25, 1981.5], "'year' holds what may be times, such as '1981.0'"),
        ("shop", ["b", "a", "c"], None),
    ],
)
def test_columns_that_may_hold_times_are_told_of(write, recwarn, head, cells, told):
    assert read_csv(write(column(head, cells)), ["v"]).calendar is None
    if told is None:
        assert not recwarn.list
    else:
        (warning,) = recwarn.list
        assert re.search(told, str(warning.message)), warning.message


def test_years_that_end_in_the_next_are_no_months(write):
    with pytest.raises(
        ValueError, match="'y' holds what are years that begin in another, such as '2000-01', and not mon"
    ):
        read_csv(write(column("y", [f"{year}-{(year + 1) % 100:02}" for year in range(2000, 2012)])))
    months = read_csv(write(column("y", ["2000-01", "2000-02", "2000-03"])))
    assert months.label(3) == "2000-04-01"


def test_dates_and_clocks_in_two_columns_are_to_be_joined(write):
    with pytest.raises(ValueError, match="2023-01-01 is there twice; join it with column 'clock' in one column"):
        read_csv(write("day,clock,v\n2023-01-01,00:00,1\n2023-01-01,01:00,2\n"), ["v"])
    with pytest.raises(ValueError, match="'45231.25' is not an ISO 8601 date, but may be the day of a spreadsheet"):
        read_csv(write(column("t", [45231.25, 45231.5])), ["v"], "t")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08", "packed by gzip"),
        (b"PK\x03\x04", r"such as .xlsx"),
        (b"PAR1", "Parquet"),
        (b"ARROW1", "Arrow"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, kind):
    path = tmp_path / "in.csv"
    path.write_bytes(content + bytes(100))
    for read in (read_csv, read_table):
        with pytest.raises(ValueError, match=f"in.csv: this is .*{kind}"):
            read(path)
