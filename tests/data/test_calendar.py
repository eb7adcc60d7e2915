"""What dates tell: labels of rows, of those to come too, and seasons."""

from datetime import datetime, timedelta

import pytest

from xprnn.data import Calendar

START = datetime(2000, 1, 3)  # a Monday


def every(interval, rows):
    return Calendar([START + n * interval for n in range(rows)])


def monthly(rows, step=1, day=1):
    months = [n * step for n in range(rows)]
    return Calendar([datetime(1949 + m // 12, m % 12 + 1, day) for m in months])


def business_days(rows):
    days = (START + timedelta(days=n) for n in range(2 * rows))
    return Calendar([day for day in days if day.weekday() < 5][:rows])


@pytest.mark.parametrize(
    ("calendar", "periods"),
    [
        (every(timedelta(days=1), 1000), (365.25,)),
        (every(timedelta(days=1), 700), ()),  # less than two years
        (every(timedelta(hours=1), 100), (24.0,)),
        (every(timedelta(hours=1), 20000), (24.0, 8766.0)),
        (every(timedelta(days=730), 50), ()),
        (monthly(144), (12.0,)),
        (monthly(40, step=3, day=28), (4.0,)),
        (monthly(20), ()),
    ],
)
def test_periods(calendar, periods):
    assert calendar.periods() == pytest.approx(periods)


def test_a_year_of_business_days_is_shorter():
    assert business_days(1000).periods() == pytest.approx((261.0,), abs=1)


def test_a_long_gap_does_not_change_the_season():
    dates = [START + timedelta(days=n) for n in range(1000)] + [START + timedelta(days=9000 + n) for n in range(500)]
    assert Calendar(dates).periods() == pytest.approx((365.25,))


@pytest.mark.parametrize(
    ("calendar", "labels"),
    [
        (every(timedelta(days=1), 30), ["2000-01-03", "2000-02-01", "2000-02-02", "2000-02-04"]),
        (
            every(timedelta(hours=6), 30),
            ["2000-01-03 00:00:00", "2000-01-10 06:00:00", "2000-01-10 12:00:00", "2000-01-11 00:00:00"],
        ),
        (monthly(30), ["1949-01-01", "1951-06-01", "1951-07-01", "1951-09-01"]),
        (business_days(30), ["2000-01-03", "2000-02-11", "2000-02-14", "2000-02-16"]),
    ],
)
def test_labels_go_on_past_the_end(calendar, labels):
    assert [calendar.label(row) for row in (0, 29, 30, 32)] == labels


def test_the_last_days_of_months_are_not_taken_for_one_day():
    dates = [datetime(2000, 1, 31), datetime(2000, 2, 29), datetime(2000, 3, 31), datetime(2000, 4, 30)]
    assert Calendar(dates).label(4) == "2000-05-30"  # by the median interval of 30 days


def test_one_date_is_no_calendar():
    with pytest.raises(ValueError, match="1 dates; expected at least two"):
        Calendar([START])
