"""A day of a schedule as a picture: what ran, why not, and what is to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import NamedTuple

from django.db.models import Q, QuerySet
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app.features.schedules.definition import Timing
from tasks_app.features.schedules.models import Firing, Outcome, Schedule

#: A day has so many parts, of a quarter of an hour.
PARTS, PART = 96, timedelta(minutes=15)
#: Of the picture, in its own units.
WIDTH, HEIGHT = 10, 30
#: Lines of a day that are read.
MAX_READ = 20_000
#: The worst outcome first, which decides the colour of a part.
TONES = {
    Outcome.MISSED: "failed", Outcome.REFUSED: "failed", Outcome.SKIPPED: "pending", Outcome.MADE: "completed"
}  # fmt: skip


class Mark(NamedTuple):
    """What became of ticks, and of how many, from their first part of the day to the last; with None a part in which
    some are to come."""

    first: int
    last: int
    outcome: str | None
    ticks: int = 1


def day_of(text: str, now: datetime) -> date | None:
    """The day of an address, today if it is blank; None if it is none since 1970."""
    try:
        day = date.fromisoformat(text) if text else now.date()
    except ValueError:
        return None
    return day if 1970 <= day.year < MAXYEAR else None


def marks(row: Schedule, timing: Timing | None, day: date, now: datetime) -> list[Mark]:
    """What there is of a day in UTC, in the order of the ticks. `timing`: None if it is not known."""
    begin = datetime.combine(day, time(), tzinfo=UTC)
    columns = lines_of(row, day).values_list("scheduled_for", "until", "outcome", "count")
    found = [
        Mark(max(_part(at, begin), 0), min(_part(until or at, begin), PARTS - 1), outcome, count)
        for at, until, outcome, count in columns[:MAX_READ]
    ]
    if timing is not None and row.next_at is not None and begin + timedelta(days=1) > now:
        at = max(row.next_at, now, begin)
        while (part := _part(timing.next(at - timedelta(microseconds=1)), begin)) < PARTS:
            found.append(Mark(part, part, None, 0))
            at = begin + (part + 1) * PART
    return found


def lines_of(row: Schedule, day: date) -> QuerySet[Firing]:
    """The lines of a day in UTC, in the order of the ticks."""
    begin = datetime.combine(day, time(), tzinfo=UTC)
    within = Q(scheduled_for__gte=begin) | Q(scheduled_for__lt=begin, until__gte=begin)
    lines = Firing.objects.filter(within, schedule=row.pk, scheduled_for__lt=begin + timedelta(days=1))
    return lines.order_by("scheduled_for")


def _part(moment: datetime, begin: datetime) -> int:
    return int((moment - begin) // PART)


def picture(found: Sequence[Mark], day: date) -> SafeString:
    """SVG without styles or scripts, with the numbers of each part in words."""
    counts = [Counter[str]() for _ in range(PARTS)]
    for mark in found:
        for part in range(mark.first, mark.last + 1):
            # Of ticks in several parts nobody knows how many each has.
            counts[part][mark.outcome or "to come"] += mark.ticks if mark.first == mark.last else 0
    drawn = format_html_join(
        "",
        '<rect class="td-{}" x="{}" y="2" width="{}" height="{}"><title>{}</title></rect>',
        (
            (_tone(count), part * WIDTH + 1, WIDTH - 2, HEIGHT - 4, f"{_clock(part)}: {_said(count)}")
            for part, count in enumerate(counts)
            if count
        ),
    )
    hours = format_html_join(
        "",
        '<text x="{}" y="{}">{}</text>',
        ((hour * 4 * WIDTH, HEIGHT + 12, f"{hour:02}:00") for hour in range(0, 24, 3)),
    )
    total = Counter[str]()
    for mark in found:
        if mark.outcome is not None:
            total[mark.outcome] += mark.ticks
    label = f"{day.isoformat()}: {_said(total) or 'nothing became due'}"
    return format_html(
        '<svg class="td-day" viewBox="0 0 {} {}" role="img" aria-label="{}">'
        '<path class="td-bars-line" d="M0 {}H{}"/>{}{}</svg>',
        PARTS * WIDTH, HEIGHT + 16, label, HEIGHT, PARTS * WIDTH, drawn, hours,
    )  # fmt: skip


def _tone(count: Counter[str]) -> str:
    return next((tone for outcome, tone in TONES.items() if outcome in count), "none")


def _said(count: Counter[str]) -> str:
    return ", ".join(f"{number:,} {word}" if number else word for word, number in count.items())


def _clock(part: int) -> str:
    return f"{part // 4:02}:{part % 4 * 15:02}"
