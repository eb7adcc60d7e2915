"""CSV files in long form: what is read, and the line that each complaint names."""

import pytest

from xprnn.data.csv_series import read_csv
from xprnn.data.long_csv import read_long_csv


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "long.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


TABLE = "who,day,x,kind,y\nb,2,4,up,40\na,1,1,down,10\nb,1,3,up,30\na,3,2,down,20\n"


def test_sequences_in_the_order_of_their_ids_and_steps_in_the_order_of_their_times(file):
    found = read_long_csv(file(TABLE), id="who", time="day", label="kind")
    assert (found.ids, found.labels, found.features) == (("b", "a"), ("up", "down"), ("x", "y"))
    assert [row.tolist() for row in found.X] == [[[3, 30], [4, 40]], [[1, 10], [2, 20]]]
    assert found.times == [["1", "2"], ["1", "3"]]


def test_columns_in_the_order_asked_for_and_rows_in_their_own(file):
    found = read_long_csv(file(TABLE), id="who", columns=["y", "x"])
    assert [row.tolist() for row in found.X] == [[[40, 4], [30, 3]], [[10, 1], [20, 2]]]
    assert (found.labels, found.times) == (None, [["1", "2"], ["1", "2"]])


def test_one_sequence_without_an_id_cut_into_windows(file):
    found = read_long_csv(file("when,x\n2020-01-03,3\n2020-01-01,1\n2020-01-02,2\n"), time="when").windows(2)
    assert found.ids == ("2020-01-01", "2020-01-03")
    assert [row.ravel().tolist() for row in found.X] == [[1, 2], [3]]
    two = read_long_csv(file(TABLE), id="who", time="day", label="kind", columns=["x"]).windows(1)
    assert (two.ids, two.labels) == (("b, 1", "b, 2", "a, 1", "a, 3"), ("up", "up", "down", "down"))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (TABLE, {"id": "whom"}, "no column 'whom'; the header has 'who', 'day'"),
        (TABLE, {"id": "who", "columns": ["z"]}, "no column 'z'"),
        (TABLE, {"id": "who"}, "line 2, column 'kind': 'up' is not a finite number; name the columns"),
        ("a,x\n1,2\n1,inf\n", {"id": "a"}, "line 3, column 'x': 'inf' is not a finite number"),
        ("a,x\n1,2\n,3\n", {"id": "a"}, "line 3, column 'a' is empty"),
        ("a,t\n1,2\n1,3\n", {"id": "a", "time": "t"}, "there are no columns beside 'a', 't'"),
        ("a,t,x\n1,2,0\n1,3,0\n1,2,0\n", {"id": "a", "time": "t"}, "line 4: t 2 of a '1' is in line 2 already"),
        ("t,x\n2,0\nsoon,0\n", {"time": "t"}, "line 3, column 't': 'soon' is not a finite number"),
        ("t,x\nsoon,0\n2,0\n", {"time": "t"}, "line 2, column 't': 'soon' is not a number or an ISO 8601 date"),
        ("t,x\n2020-01-01T00:00,0\n2020-01-02T00:00Z,0\n", {"time": "t"}, "line 3, .* some dates have a time zone"),
        (
            "a,k,x\n1,up,0\n2,up,0\n1,down,0\n",
            {"id": "a", "label": "k"},
            "line 4, column 'k' is 'down', but a '1' has 'up' in line 2",
        ),
    ],
)
def test_complaints_name_the_line(file, text, options, message):
    with pytest.raises(ValueError, match=message) as error:
        read_long_csv(file(text), **options)
    assert "long.csv: " in str(error.value)


def test_dates_that_are_missing_are_told(file):
    days = [f"{who},2024-01-{day:02},1\n" for who in "abc" for day in range(1, 15) if (who, day) != ("b", 9)]
    with pytest.warns(UserWarning, match="long.csv: series 'b': 1 of 14 rows are missing .*2024-01-09; rows are count"):
        found = read_long_csv(file("who,day,x\n" + "".join(days)), id="who", time="day")
    assert [len(rows) for rows in found.X] == [14, 13, 14]


def test_numbers_that_are_missing_are_told(file, recwarn):
    days = [f"{who},{day},1\n" for who in "abc" for day in range(14) if (who, day) not in (("b", 9), ("c", 1))]
    read_long_csv(file("who,day,x\n" + "".join(days)), id="who", time="day")
    (told,) = recwarn.list
    assert "long.csv: series 'b': column 'day': 1 of 14 rows are missing (steps of 1): 9; so it is with 1 more" in str(
        told.message
    )


def test_columns_are_named_once(file):
    for read in (read_long_csv, lambda path, columns: read_csv(path, columns)):
        with pytest.raises(ValueError, match="long.csv: column 'x' is named twice; expected each once"):
            read(file(TABLE), columns=["x", "y", "x"])
