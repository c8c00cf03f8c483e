"""Counts by hour as a small picture: SVG without styles or scripts, with the numbers in words for who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.html import format_html
from django.utils.safestring import SafeString

#: Of the picture, in its own units.
BAR_WIDTH, HEIGHT = 4, 24


def bars(hours: Mapping[str, int], last: int, count: int) -> SafeString:
    """`count` bars, the last of which is the hour `last` (since 1970)."""
    values = [hours.get(str(hour), 0) for hour in range(last - count + 1, last + 1)]
    most = max(*values, 1)
    # One path of numbers only: a list has many pictures.
    drawn = "".join(
        f"M{number * BAR_WIDTH} {HEIGHT}v-{height}h{BAR_WIDTH - 1}v{height}z"
        for number, value in enumerate(values)
        if value and (height := max(round(value / most * HEIGHT), 2))
    )
    label = f"{sum(values):,} in {count} hours, at most {max(values):,} in one hour, {values[-1]:,} in this one"
    return format_html(
        '<svg class="td-bars" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"><title>{}</title>'
        '<path class="td-bars-line" d="M0 {}H{}"/><path d="{}"/></svg>',
        count * BAR_WIDTH, HEIGHT + 1, count * BAR_WIDTH, HEIGHT + 1, label, label, HEIGHT + 0.5, count * BAR_WIDTH,
        drawn,
    )  # fmt: skip
