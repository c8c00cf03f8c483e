"""The ticks of cron lines and intervals, over a year in many time zones and beside each change of a clock."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks_app.features.schedules.definition import NICKNAMES, Timing, cron_of, every_of, zone_of, zones
from testkit.sizes import size

ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Moscow", "America/New_York", "America/St_Johns",
    "America/Sao_Paulo", "America/Santiago", "America/Havana", "Africa/Cairo", "Africa/Casablanca", "Asia/Beirut",
    "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Chatham",
    "Pacific/Kiritimati",
)  # fmt: skip
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
#: Hours and minutes, of lines that name a time of day.
TIMES = {"30 2 * * *": [(2, 30)], "15 0,1 * * *": [(0, 15), (1, 15)], "0 23 * * *": [(23, 0)]}


def year(timing: Timing) -> list[datetime]:
    return list(takewhile(lambda tick: tick < END, timing.after(BEGIN)))


def moment_of(day: date, hour: int, minute: int, zone: ZoneInfo) -> datetime:
    """By trying all moments of two days in steps of five minutes: the first with this time of day or a later one, on
    this day or a later one."""
    wanted = datetime.combine(day, time(hour, minute))
    moment = wanted.replace(tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(zone).replace(tzinfo=None) < wanted:
        moment += timedelta(minutes=5)
    return moment


@pytest.mark.parametrize("zone", ZONES)
def test_a_time_of_day_fires_once_a_day_at_its_first_moment_or_the_first_one_after_it(zone: str) -> None:
    clock = ZoneInfo(zone)
    for line, times in TIMES.items():
        days = [BEGIN.date() + timedelta(days=number) for number in range(-1, 367)]
        expected = sorted({moment_of(day, *of_day, clock) for day in days for of_day in times})
        assert year(Timing(line, None, zone)) == [tick for tick in expected if BEGIN < tick < END], line


@pytest.mark.parametrize("zone", ZONES)
def test_a_line_of_every_hour_fires_whenever_the_clock_shows_it(zone: str) -> None:
    clock = ZoneInfo(zone)
    moments = (BEGIN + timedelta(minutes=15 * number) for number in range(1, 4 * 24 * 365))
    expected = [moment for moment in moments if moment.astimezone(clock).minute == 45]
    assert year(Timing("45 * * * *", None, zone)) == year(Timing("45 0-23 * * *", None, zone)) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_the_next_tick_follows_from_the_moment_alone(zone: str) -> None:
    for line in ("30 2 * * *", "*/20 1-3 * * *", "50 * * * *"):
        timing = Timing(line, None, zone)
        ticks = list(takewhile(lambda tick: tick < END + timedelta(days=2), timing.after(BEGIN - timedelta(days=1))))
        clock = ZoneInfo(zone)
        hours = [BEGIN + timedelta(hours=number) for number in range(1, 24 * 365)]
        changes = [
            hour
            for hour in hours
            if hour.astimezone(clock).utcoffset() != (hour - timedelta(hours=1)).astimezone(clock).utcoffset()
        ]
        for change in changes or hours[:1]:
            for minutes in range(-130, 200, 7):
                moment = change + timedelta(minutes=minutes, seconds=minutes % 60, microseconds=minutes % 3)
                assert timing.next(moment) == ticks[bisect_right(ticks, moment)], (line, moment)


#: By hand: zone, line, the ticks of a night as its clock shows them.
NIGHTS = [
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T02:30+01:00 2026-03-29T03:00+02:00 2026-03-30T02:30+02:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T02:30+02:00 2026-10-25T02:30+02:00 2026-10-26T02:30+01:00"),
    ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T02:30+01:00 2026-03-29T03:00+02:00 2026-03-30T02:00+02:00"),
    ("Europe/Berlin", "15 * * * *", "2026-03-29T00:15+01:00 2026-03-29T01:15+01:00 2026-03-29T03:15+02:00"),
    ("Europe/Berlin", "15 * * * *", "2026-10-25T02:15+02:00 2026-10-25T02:15+01:00 2026-10-25T03:15+01:00"),
    ("Europe/Berlin", "0 */2 * * *", "2026-10-25T00:00+02:00 2026-10-25T02:00+02:00 2026-10-25T04:00+01:00"),
    ("America/New_York", "30 2 * * *", "2026-03-07T02:30-05:00 2026-03-08T03:00-04:00 2026-03-09T02:30-04:00"),
    ("America/New_York", "30 1 * * *", "2026-10-31T01:30-04:00 2026-11-01T01:30-04:00 2026-11-02T01:30-05:00"),
    ("America/New_York", "0 * * * *", "2026-11-01T01:00-04:00 2026-11-01T01:00-05:00 2026-11-01T02:00-05:00"),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T02:15+10:30 2026-10-04T02:30+11:00 2026-10-05T02:15+11:00"),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T01:45+11:00 2026-04-05T01:45+11:00 2026-04-06T01:45+10:30"),
    ("Australia/Lord_Howe", "45 * * * *", "2026-04-05T01:45+11:00 2026-04-05T01:45+10:30 2026-04-05T02:45+10:30"),
    ("Australia/Lord_Howe", "0 * * * *", "2026-10-04T01:00+10:30 2026-10-04T03:00+11:00 2026-10-04T04:00+11:00"),
    ("Africa/Casablanca", "30 2 * * *", "2026-02-14T02:30+01:00 2026-02-15T02:30+01:00 2026-02-16T02:30+00:00"),
    ("Africa/Casablanca", "30 2 * * *", "2026-03-21T02:30+00:00 2026-03-22T03:00+01:00 2026-03-23T02:30+01:00"),
    ("Africa/Casablanca", "0 * * * *", "2026-02-15T02:00+01:00 2026-02-15T02:00+00:00 2026-02-15T03:00+00:00"),
]


@pytest.mark.parametrize(("zone", "line", "night"), NIGHTS)
def test_the_nights_on_which_clocks_change(zone: str, line: str, night: str) -> None:
    expected = night.split()
    before = datetime.fromisoformat(expected[0]) - timedelta(seconds=1)
    ticks = list(islice(Timing(line, None, zone).after(before), len(expected)))
    assert [tick.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for tick in ticks] == expected


def test_an_interval_counts_from_1970() -> None:
    assert Timing(every=900).next(datetime(2026, 1, 1, 0, 7, 3, 5, tzinfo=UTC)) == datetime(
        2026, 1, 1, 0, 15, tzinfo=UTC
    )
    assert Timing(every=900).next(datetime(2026, 1, 1, 0, 15, tzinfo=UTC)) == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
    week = Timing(every=7 * 86_400).next(BEGIN)
    assert (week - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() % (7 * 86_400) == 0


def test_a_star_with_a_step_beside_a_weekday_means_both_and_a_number_means_either() -> None:
    both = year(Timing("0 0 */13 * FRI"))
    assert all(tick.day in (1, 14, 27) and tick.weekday() == 4 for tick in both) and len(both) == 5
    assert len(year(Timing("0 0 13 * FRI"))) == 52 + 12 - 3  # three of them are Fridays in 2026


@settings(max_examples=size(20, large=60), deadline=None)
@given(st.sampled_from(["*/7 * * * *", "0 6 * * *", "30 2 * * *"]), st.integers(0, 500), st.integers(1, 40))
def test_missed_ticks_are_counted_in_steps_to_the_same_end(line: str, hours: int, most: int) -> None:
    timing = Timing(line, None, "Europe/Berlin")
    first, before = timing.next(BEGIN), BEGIN + timedelta(hours=hours)
    ticks = list(takewhile(lambda tick: tick < before, timing.after(BEGIN))) or [first]
    count, tick = 0, first
    while count < len(ticks):
        missed = timing.missed(tick, before, most)
        assert missed.first == tick and missed.number <= most and missed.last == ticks[count + missed.number - 1]
        assert missed.before_last == ticks[max(count + missed.number - 2, count)]
        count, tick = count + missed.number, missed.following
    assert count == len(ticks) and tick == timing.next(ticks[-1])
    every = Timing(every=420)
    start = every.next(BEGIN)
    missed = every.missed(start, before, most)
    assert missed.following == every.next(missed.last) and (missed.following >= before or missed.last == start)


@pytest.mark.parametrize(
    ("timing", "gap"),
    [
        (Timing(every=90), 90.0),
        (Timing("*/7 * * * *"), 240.0),  # 56 and 0
        (Timing("0 6 * * *", None, "Europe/Berlin"), 82_800.0),  # a day of 23 hours
        (Timing("30 1,3 * * *", None, "Europe/Berlin"), 3_600.0),
        (Timing("0 0 * * MON"), 7 * 86_400.0),
        (Timing("0 22 1,2 * *"), 86_400.0),
        (Timing("59,0 23,0 * * *"), 60.0),
    ],
)
def test_the_shortest_gap_of_the_next_year(timing: Timing, gap: float) -> None:
    assert timing.shortest_gap(BEGIN) == gap


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0 6 * * *", "not 6 fields; there is no field for seconds: use every"),
        ("* * * *", "not 4 fields"),
        ("@dayly", "did you mean @daily?"),
        ("@reboot", "@hourly"),
        ("0 0 30 2 *", "names a day that never comes"),
        ("0 0 31 2,4,6,9,11 *", "names a day that never comes"),
        ("60 * * * *", "has the minute 60: it must be 0 to 59"),
        ("0 24 * * *", "has the hour 24"),
        ("0 0 * FEBRUARY *", "did you mean FEB?"),
        ("0 0 * * MONDAY", "did you mean MON?"),
        ("0 0 ? * *", "has the day of month ?"),
        ("*/0 * * * *", "has the minute */0"),
        ("5-1 * * * *", "has the minute 5-1"),
        ("0 " * 200, "at most 200 characters"),
        ("0" + "/" * 150 + " * * * *", "has the minute 0//"),
    ],
)
def test_lines_that_are_refused_say_why(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        cron_of(line)


def test_what_is_valid_is_understood() -> None:
    assert all(cron_of(name.upper()) == name for name in NICKNAMES)
    for name, other in (("@midnight", "@daily"), ("@annually", "@yearly")):
        assert Timing(name).next(BEGIN) == Timing(other).next(BEGIN)
    assert cron_of(" 0  6 * *  mon-fri ") == "0 6 * * MON-FRI"
    assert (every_of("1s"), every_of("15m"), every_of("365d")) == (1, 900, 31_536_000)
    assert zone_of("Europe/Berlin") == "Europe/Berlin" and len(zones()) > 300


@pytest.mark.parametrize("text", ["0s", "366d", "900", "1.5h", "15 m", ""])
def test_intervals_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1s to 365d"):
        every_of(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("Europe/Berln", "Europe/Berlin"), ("new york", "America/New_York"), ("../etc/passwd", None), ("localtime", None)],
)
def test_an_unknown_time_zone_is_refused_with_the_nearest(text: str, meant: str | None) -> None:
    with pytest.raises(ValueError, match="IANA") as refused:
        zone_of(text)
    assert meant is None or str(refused.value).endswith(f"did you mean {meant}?")


@settings(max_examples=size(70, large=200), deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"\A[0-9*/,\-LW#A-Z]{1,9}( [0-9*/,\-LW#A-Z]{1,9}){4}\Z"))
def test_no_text_raises_anything_but_a_sentence(text: str) -> None:
    try:
        line = cron_of(text)
    except ValueError:
        return
    assert Timing(line).next(BEGIN) > BEGIN
