"""SVG for bars and lines. Sizes are in pixels, the origin is at the top left."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, PALE, GRID = "#1f2933", "#52606d", "#e4e7eb"
OURS, OTHERS = "#0b6e4f", "#9aa5b1"
LINES = ("#0b6e4f", "#d9822b", "#b83280")


class Drawing:
    """Elements in the order of their addition, on a white ground: a README may be shown on black."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self._title = width, height, title
        self._parts: list[str] = []
        self.rect(0, 0, width, height, "#ffffff")

    def rect(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Add a filled rectangle."""
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = GRID, width: float = 1) -> None:
        """Add a straight line."""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self._parts.append(f'<line {ends} stroke="{stroke}" stroke-width="{width:g}"/>')

    def path(self, points: Sequence[tuple[float, float]], stroke: str) -> None:
        """Add a line through all points, with a dot on each."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{joined}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        self._parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{stroke}"/>' for x, y in points]

    def text(
        self,
        x: float,
        y: float,
        content: str,
        size: int = 13,
        fill: str = INK,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Add a text. `anchor`: start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{weight}>'
            f"{escape(content)}</text>"
        )

    def __str__(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" font-family="system-ui, sans-serif">'
            f"<title>{escape(self._title)}</title>\n" + "\n".join(self._parts) + "\n</svg>\n"
        )


def ticks(largest: float, about: int = 4) -> list[float]:
    """About `about` round numbers from 0 to at least `largest`, for an axis."""
    if largest <= 0:
        return [0.0, 1.0]
    size = 1e-6
    while True:
        for factor in (1, 2, 5):
            if size * factor * about >= largest:
                step = size * factor
                count = -int(-largest // step)
                return [step * n for n in range(count + 1)]
        size *= 10
