"""What dates tell: the rule they follow, labels of rows and of those to come, gaps and how they are filled, seasons."""

import pickle
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest

from xprnn.data import Calendar

START = datetime(2000, 1, 3)  # a Monday
DAY = timedelta(days=1)
try:
    BERLIN = ZoneInfo("Europe/Berlin")
except ZoneInfoNotFoundError:  # a machine without the table of zones
    BERLIN = None


def every(rows, start=START, **interval):
    return [start + n * timedelta(**interval) for n in range(rows)]


def chosen(rows, wanted, start=START, **interval):
    """Dates at an interval of which those that are wanted stay."""
    return [moment for moment in every(40 * rows, start, **(interval or {"days": 1})) if wanted(moment)][:rows]


def monthly(rows, day, step=1, start=datetime(2001, 1, 1)):
    """The day, or a function of the year and month."""
    months = [
        (start.year + (start.month - 1 + n * step) // 12, (start.month - 1 + n * step) % 12 + 1) for n in range(rows)
    ]
    return [datetime(y, m, day(y, m) if callable(day) else min(day, last(y, m))) for y, m in months]


def last(year, month):
    return (datetime(year + month // 12, month % 12 + 1, 1) - DAY).day


def last_weekday(year, month):
    return max(d for d in range(1, last(year, month) + 1) if datetime(year, month, d).weekday() < 5)


def first_weekday(year, month):
    return min(d for d in range(1, 8) if datetime(year, month, d).weekday() < 5)


def third_friday(year, month):
    return next(d for d in range(15, 22) if datetime(year, month, d).weekday() == 4)


def last_friday(year, month):
    return max(d for d in range(1, last(year, month) + 1) if datetime(year, month, d).weekday() == 4)


def in_zone(zone, rows, start, **interval):
    """At an interval in UTC, as clocks in a zone show it."""
    return [moment.replace(tzinfo=timezone.utc).astimezone(zone) for moment in every(rows, start, **interval)]


def weekdays(*wanted):
    return lambda moment: moment.weekday() in wanted


PATTERNS = {
    "daily": every(60, days=1),
    "daily at noon": every(60, START + timedelta(hours=12), days=1),
    "every second day": every(60, days=2),
    "weekly on Monday": every(60, weeks=1),
    "weekly on Sunday": every(60, START - DAY, weeks=1),
    "fortnights": every(60, weeks=2),
    "every 28 days": every(60, days=28),
    "every 30 days": every(60, days=30),
    "every 365 days": every(60, days=365),
    "weekdays": chosen(60, weekdays(0, 1, 2, 3, 4)),
    "few weekdays": chosen(8, weekdays(0, 1, 2, 3, 4)),
    "weekdays from a Wednesday": chosen(60, weekdays(0, 1, 2, 3, 4), START + 2 * DAY),
    "Sunday to Thursday": chosen(60, weekdays(6, 0, 1, 2, 3)),
    "without Sundays": chosen(60, weekdays(0, 1, 2, 3, 4, 5)),
    "Tuesdays and Thursdays": chosen(60, weekdays(1, 3)),
    "hourly": every(100, hours=1),
    "5 minutes": every(100, START + timedelta(minutes=7), minutes=5),
    "7 hours": every(100, hours=7),
    "seconds": every(100, seconds=1),
    "tenths of seconds": every(100, milliseconds=100),
    "microseconds": every(100, START + timedelta(microseconds=3), microseconds=7),
    "60 hertz in milliseconds": [START + timedelta(milliseconds=round(n * 1000 / 60)) for n in range(200)],
    "30 hertz in microseconds": [START + timedelta(microseconds=round(n * 1e6 / 30)) for n in range(200)],
    "hours of an office": chosen(200, lambda t: t.weekday() < 5 and 9 <= t.hour < 17, hours=1),
    "three times a day": chosen(60, lambda t: t.hour in (7, 14, 21), hours=1),
    "first of the month": monthly(40, 1),
    "15th of the month": monthly(40, 15),
    "30th of the month": monthly(40, 30),
    "29th of the month": monthly(40, 29),
    "ends of months": monthly(40, 31),
    "ends of months, few": monthly(4, 31, start=datetime(2000, 1, 1)),
    "two ends of months": monthly(2, 31, start=datetime(2001, 4, 1), step=2),
    "ends of quarters": monthly(40, 31, 3, datetime(2001, 3, 1)),
    "starts of quarters": monthly(40, 1, 3),
    "ends of quarters, from June": monthly(3, 31, 3, datetime(2001, 6, 1)),
    "half years": monthly(40, 1, 6),
    "years": monthly(40, 1, 12),
    "ends of years": monthly(40, 31, 12, datetime(2001, 12, 1)),
    "three years": [datetime(2001, 1, 1), datetime(2002, 1, 1), datetime(2003, 1, 1)],
    "decades": monthly(10, 1, 120),
    "29th of February": [datetime(year, 2, 29) for year in range(1960, 2000, 4)],
    "last of February": monthly(12, 29, 12, datetime(2001, 2, 1)),
    "last weekdays of months": monthly(40, last_weekday),
    "first weekdays of months": monthly(40, first_weekday),
    "last weekdays of quarters": monthly(40, last_weekday, 3, datetime(2001, 3, 1)),
    "third Fridays": monthly(40, third_friday),
    "last weekdays of few years": monthly(4, last_weekday, 12, datetime(2000, 12, 1)),
    "last Fridays": monthly(40, last_friday),
    "1st and 15th": chosen(40, lambda t: t.day in (1, 15)),
    "15th and last": chosen(40, lambda t: t.day == 15 or (t + DAY).day == 1),
    "dekads": chosen(40, lambda t: t.day in (1, 11, 21)),
    "before 1970": every(60, datetime(1850, 12, 25), days=1),
    "UTC": in_zone(timezone.utc, 60, START, hours=1),
    "every 2 weekdays": chosen(160, weekdays(0, 1, 2, 3, 4))[::2],
    "every 3 weekdays": chosen(160, weekdays(0, 1, 2, 3, 4))[1::3],
    "every 4 weekdays, at nine": chosen(160, weekdays(0, 1, 2, 3, 4), START + timedelta(hours=9), days=1)[::4],
    "two dates": every(2, days=3),
}

if BERLIN is not None:
    PATTERNS |= {
        "hours across summer time": in_zone(BERLIN, 90, datetime(2020, 3, 27), hours=1),
        "hours across winter time": in_zone(BERLIN, 90, datetime(2020, 10, 24), hours=1),
        "days across summer time": [
            moment.replace(tzinfo=BERLIN) for moment in every(60, datetime(2020, 3, 1), days=1)
        ],
        "36 hours across summer time": in_zone(BERLIN, 60, datetime(2020, 2, 10), hours=36),
        "months across summer time": [moment.replace(tzinfo=BERLIN) for moment in monthly(30, 1)],
    }


@pytest.mark.parametrize("name", PATTERNS)
def test_dates_follow_a_rule_and_go_on_by_it(name):
    """The dates are told from two thirds of them, and those are all there."""
    dates = PATTERNS[name]
    known = max(2, 2 * len(dates) // 3) if len(dates) > 8 else len(dates)
    calendar, whole = Calendar(dates[:known]), Calendar(dates)
    assert calendar.rule is not None
    assert (calendar.missing, calendar.notice()) == (0, None)
    assert [calendar.label(row) for row in range(len(dates))] == [whole.label(row) for row in range(len(dates))]
    assert whole.label(len(dates) - 1).startswith(str(dates[-1])[:10])


@pytest.mark.parametrize("name", [name for name, dates in PATTERNS.items() if len(dates) >= 40])
def test_gaps_are_found_and_filled(name):
    """Of any rule: rows in the middle of the dates are missing, and come back."""
    dates = PATTERNS[name]
    gone = {7, 20, 21, 33}
    calendar = Calendar([moment for n, moment in enumerate(dates) if n not in gone])
    assert calendar.missing == len(gone)
    said = calendar.notice()
    assert said.startswith(f"{len(gone)} of {len(dates)} rows are missing")
    whole = Calendar(dates)
    assert all(whole.label(row) in said for row in (7, 20, 21))
    rows = np.array([[n, -2.0 * n] for n in range(len(dates)) if n not in gone])
    linear, filled = calendar.fill(rows, "linear")
    np.testing.assert_allclose(linear, [[n, -2.0 * n] for n in range(len(dates))], atol=1e-9)
    assert filled.missing == 0
    assert [filled.label(n) for n in range(len(dates) + 5)] == [whole.label(n) for n in range(len(dates) + 5)]
    previous, _ = calendar.fill(rows, "previous")
    np.testing.assert_array_equal(previous[[6, 7, 8, 19, 20, 21, 22], 0], [6, 6, 8, 19, 19, 19, 22])


@pytest.mark.parametrize("name", PATTERNS)
def test_whatever_is_missing_dates_go_on_and_are_filled_in_order(name):
    draws = np.random.default_rng(len(name))
    for share in (0.02, 0.1, 0.3, 0.6):
        kept = [moment for moment in PATTERNS[name] if draws.random() >= share]
        if len(kept) < 2:
            continue
        calendar = Calendar(kept)
        labels = [calendar.label(row) for row in range(len(kept), len(kept) + 20)]
        if calendar.rule is None:
            assert labels == [str(row) for row in range(len(kept), len(kept) + 20)]
            continue
        known = [calendar.label(row) for row in range(len(kept))]
        moments = [datetime.fromisoformat(label) for label in known + labels]
        assert all(a < b for a, b in pairwise(moments))
        if 0 < calendar.missing <= len(kept):
            filled, whole = calendar.fill(np.arange(len(kept)), "linear")
            assert len(filled) == len(whole.dates) == len(kept) + calendar.missing
            assert (np.diff(filled) > 0).all()
            assert set(calendar.dates) <= set(whole.dates)
            assert whole.missing == 0


def test_weekdays_far_past_the_end():
    dates = PATTERNS["weekdays"]
    assert Calendar(dates).label(len(dates) - 1 + 50_000) == str((dates[-1] + timedelta(weeks=10_000)).date())


@pytest.mark.parametrize(
    ("dates", "labels"),
    [
        (PATTERNS["weekdays"][:30], ["2000-01-03", "2000-02-11", "2000-02-14", "2000-02-16"]),
        (
            every(30, hours=6),
            ["2000-01-03 00:00:00", "2000-01-10 06:00:00", "2000-01-10 12:00:00", "2000-01-11 00:00:00"],
        ),
        (monthly(30, 1, start=datetime(1949, 1, 1)), ["1949-01-01", "1951-06-01", "1951-07-01", "1951-09-01"]),
        (monthly(30, 31), ["2001-01-31", "2003-06-30", "2003-07-31", "2003-09-30"]),
        ([date(2000, 2, 28) + n * DAY for n in range(30)], ["2000-02-28", "2000-03-28", "2000-03-29", "2000-03-31"]),
    ],
)
def test_labels_go_on_past_the_end(dates, labels):
    assert [Calendar(dates).label(row) for row in (0, 29, 30, 32)] == labels


@pytest.mark.skipif(BERLIN is None, reason="this machine has no table of time zones")
def test_summer_time_begins_in_the_labels():
    calendar = Calendar(in_zone(BERLIN, 24, datetime(2020, 3, 28, 1), hours=1))
    assert calendar.label(23) == "2020-03-29 01:00:00+01:00"
    assert calendar.label(24) == "2020-03-29 03:00:00+02:00"
    days = Calendar([moment.replace(tzinfo=BERLIN) for moment in every(10, datetime(2020, 3, 18, 6), days=1)])
    assert [days.label(row) for row in (10, 11)] == ["2020-03-28 06:00:00+01:00", "2020-03-29 06:00:00+02:00"]


@pytest.mark.parametrize(
    ("dates", "periods"),
    [
        (every(1000, days=1), (7.0, 365.25)),
        (every(700, days=1), (7.0,)),  # less than two years
        (every(13, days=1), ()),
        (every(100, hours=1), (24.0,)),
        (every(20000, hours=1), (24.0, 168.0, 8766.0)),
        (every(1000, minutes=15), (96.0,)),
        (every(1000, minutes=30), (48.0, 336.0)),
        (every(300, weeks=1), (365.25 / 7,)),
        (every(50, days=730), ()),
        (monthly(144, 1), (12.0,)),
        (monthly(144, 31), (12.0,)),
        (monthly(40, 28, 3), (4.0,)),
        (monthly(20, 1), ()),
        (chosen(1000, weekdays(0, 1, 2, 3, 4)), (5.0, 5 * 365.25 / 7)),
        (chosen(1000, lambda t: t.weekday() < 5 and 9 <= t.hour < 17, hours=1), (8.0, 40.0)),
        (chosen(200, lambda t: t.hour in (7, 14, 21), hours=1), (3.0, 21.0)),
        (PATTERNS["every 2 weekdays"], (2.5,)),
        (PATTERNS["third Fridays"], (12.0,)),
        (PATTERNS["1st and 15th"], ()),
        (chosen(100, lambda t: t.day in (1, 15)), (24.0,)),
    ],
)
def test_periods(dates, periods):
    assert Calendar(dates).periods() == pytest.approx(periods)


def test_seasons_follow_the_rows_that_there_are():
    without_leap_days = [moment for moment in every(2000, days=1) if (moment.month, moment.day) != (2, 29)]
    assert Calendar(without_leap_days).periods() == pytest.approx((7.0, 365.0), abs=0.2)
    holidays = [
        m for m in chosen(1500, weekdays(0, 1, 2, 3, 4)) if (m.month, m.day) not in ((12, 25), (12, 26), (1, 1), (5, 1))
    ]
    assert Calendar(holidays).periods() == pytest.approx((5.0, 258.0), abs=1)
    assert Calendar(holidays).label(len(holidays)) > "2005"
    summers = chosen(1000, lambda t: 5 <= t.month <= 9)
    assert Calendar(summers).periods() == pytest.approx((7.0, 153.0), abs=0.5)
    months = [moment for n, moment in enumerate(monthly(60, 1)) if n not in (5, 6, 30)]
    assert Calendar(months).periods() == (12.0,)


def test_weekdays_are_told_from_many_gaps():
    """No weekend in a year is no chance, however many weekdays are missing."""
    draws = np.random.default_rng(0)
    kept = [moment for moment in chosen(250, weekdays(0, 1, 2, 3, 4)) if draws.random() > 0.25]
    assert str(Calendar(kept).rule) == "the same 5 rows each week"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("daily", "one row every day"),
        ("fortnights", "one row every 2 weeks"),
        ("7 hours", "one row every 7 hours"),
        ("microseconds", "one row every 7 microseconds"),
        ("60 hertz in milliseconds", "one row every 16.67 milliseconds"),
        ("weekdays", "the same 5 rows each week"),
        ("three times a day", "the same 3 rows each day"),
        ("every 2 weekdays", "one row every 2 weekdays"),
        ("ends of quarters", "day 31, or the last, of every 3 months"),
        ("third Fridays", "the 3. Friday of every month"),
        ("last weekdays of months", "the last weekday of every month"),
        ("last weekdays of few years", "the last weekday of every 12 months"),
    ],
)
def test_rules_say_what_they_are(name, words):
    assert str(Calendar(PATTERNS[name]).rule) == words


def test_years_end_with_9999():
    assert Calendar([datetime(9999, 12, 30), datetime(9999, 12, 31)]).label(2) == "2"


def test_a_long_gap_does_not_change_the_season():
    dates = every(1000, days=1) + every(500, START + 9000 * DAY, days=1)
    calendar = Calendar(dates)
    assert calendar.periods() == pytest.approx((7.0, 365.25), abs=0.1)
    assert calendar.missing == 8000
    with pytest.raises(
        ValueError, match="8000 of 9500 rows are missing .*: more than there are to fill them from; cut the series"
    ):
        calendar.fill(np.zeros((1500, 1)), "previous")


def test_what_is_missing_by_chance_is_no_pattern():
    draws = np.random.default_rng(0)
    for n in range(30):
        kept = [moment for moment in every(60, days=1) if draws.random() > 0.1]
        calendar = Calendar(kept)
        assert str(calendar.rule) == "one row every day", n
        kept = [moment for moment in every(3 * 144, minutes=10) if draws.random() > 0.1]
        assert str(Calendar(kept).rule) == "one row every 10 minutes", n


@pytest.mark.parametrize("drift", [0, 1])
def test_clocks_that_come_early_or_late_follow_their_interval_about(drift):
    draws = np.random.default_rng(0)
    seconds = [(600 + drift) * n + int(draws.integers(-20, 21)) for n in range(1000) if n not in (500, 501)]
    calendar = Calendar([START + timedelta(seconds=s) for s in seconds])
    assert str(calendar.rule).startswith("about one row every 10")
    assert calendar.missing == 2
    assert calendar.periods() == (pytest.approx(86400 / (600 + drift), rel=1e-3),)
    next_one = datetime.fromisoformat(calendar.label(998))
    assert abs(next_one - START - timedelta(seconds=(600 + drift) * 1000)) < timedelta(seconds=60)
    filled, whole = calendar.fill(np.asarray(seconds), "linear")
    assert len(filled) == len(whole.dates) == 1000
    assert abs(filled[500] - (600 + drift) * 500) < 60
    assert (whole.missing, whole.notice()) == (0, f"the dates are not even, {whole.rule}: those to come are guesses")


def test_one_stray_date_is_told():
    calendar = Calendar([START + timedelta(hours=n, seconds=3 * (n == 40)) for n in range(100)])
    assert "the dates are not even, about one row every hour" in calendar.notice()
    assert calendar.label(100) == "2000-01-07 04:00:00"


@pytest.mark.parametrize("seed", range(3))
def test_dates_without_a_rule_are_numbered(seed):
    draws = np.random.default_rng(seed)
    dates = [START + timedelta(seconds=float(s)) for s in np.sort(draws.uniform(0, 1e7, 50)).round(3)]
    calendar = Calendar(dates)
    assert (calendar.rule, calendar.missing, calendar.periods()) == (None, 0, ())
    assert "follow no rule" in calendar.notice()
    assert (calendar.label(49), calendar.label(50)) == (str(dates[49]), "50")
    with pytest.raises(ValueError, match="the dates follow no rule"):
        calendar.fill(np.zeros((50, 1)), "linear")


@pytest.mark.parametrize(
    ("dates", "error", "message"),
    [
        ([START], ValueError, "1 dates; expected at least two"),
        ([START, START + DAY, START + DAY], ValueError, "date 2, 2000-01-04 00:00:00, is there twice"),
        ([START, START + DAY, START], ValueError, "does not come after the row before, .*: sort the rows"),
        ([START, START.replace(tzinfo=timezone.utc)], ValueError, "some dates have a time zone and some do not"),
        ([START, "2000-01-04"], TypeError, "date 1 is '2000-01-04'; expected a datetime"),
        ([START, None], TypeError, "date 1 is None"),
        (np.arange(5), TypeError, "dates are of int64; expected dates"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), ValueError, "row 1 of dates is NaT"),
        (START, TypeError, "dates are a datetime; expected a list"),
        ([START + timedelta(hours=n) for n in (1, 2, 2, 3)], ValueError, "is there twice; where clocks are set back"),
    ],
)
def test_bad_dates_are_named(dates, error, message):
    with pytest.raises(error, match=message):
        Calendar(dates)


def test_fill_checks_its_arguments():
    calendar = Calendar(every(5, days=1))
    with pytest.raises(ValueError, match=r"Calendar.fill: method is 'nearest'; expected one of 'previous', 'linear'"):
        calendar.fill(np.zeros((5, 1)), "nearest")
    with pytest.raises(ValueError, match=r"Calendar.fill: 4 rows and 5 dates; expected as many"):
        calendar.fill(np.zeros((4, 1)), "linear")


@pytest.mark.parametrize("method", ["linear", "previous"])
def test_a_vector_is_filled_with_its_own_values(method):
    values, _ = Calendar([START, START + DAY, START + 3 * DAY]).fill([1, 2, 4], method)
    assert values.tolist() == [1.0, 2.0, 3.0 if method == "linear" else 2.0, 4.0]


def test_dates_may_come_from_tables():
    days = np.datetime64("2000-01-03") + np.arange(5)
    assert Calendar(days).label(5) == "2000-01-08"
    pandas = pytest.importorskip("pandas")
    for dates in (
        pandas.DatetimeIndex(days),
        pandas.Series(days),
        pandas.DatetimeIndex(days, tz="UTC"),
        list(pandas.Series(days)),
    ):
        assert Calendar(dates).label(5) == "2000-01-08"
    polars = pytest.importorskip("polars")
    assert Calendar(polars.Series(days)).label(5) == "2000-01-08"


def test_calendars_can_be_pickled():
    for dates in PATTERNS.values():
        calendar = Calendar(dates)
        assert pickle.loads(pickle.dumps(calendar)).label(len(dates) + 3) == calendar.label(len(dates) + 3)
