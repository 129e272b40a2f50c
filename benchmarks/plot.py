"""Bars and lines as SVG text: the two kinds of picture that the page of results has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#4269d0", "#efb118", "#6cc5b0", "#ff725c", "#a463f2", "#97bbf5", "#9c6b4e")
WIDTH = 760
LABELS = 250
"""Width of the column of labels, in pixels."""

ROW = 24
STYLE = 'font-family="system-ui, sans-serif" font-size="13" fill="#24292f"'


def bars(items: Sequence[tuple[str, float, str]], unit: str, limit: tuple[str, float] | None = None) -> str:
    """Horizontal bars.

    Args:
        items: label, value and group of each; a group has one colour.
        unit: what the values are in, shown behind each.
        limit: name and value of a line across all of them.
    """
    groups = list(dict.fromkeys(group for *_, group in items))
    top = max([value for _, value, _ in items] + ([limit[1]] if limit else []))
    scale, height = (WIDTH - LABELS - 120) / top, ROW * len(items) + (ROW if limit else 0) + 10
    lines = []
    for row, (label, value, group) in enumerate(items):
        y, long = 5 + row * ROW, max(1.0, value * scale)
        colour = COLOURS[groups.index(group) % len(COLOURS)]
        lines.append(_text(LABELS - 8, y + 16, label, "end"))
        lines.append(f'<rect x="{LABELS}" y="{y + 3}" width="{long:.1f}" height="{ROW - 6}" fill="{colour}"/>')
        lines.append(_text(LABELS + long + 6, y + 16, f"{value:.3g} {unit}".strip()))
    if limit:
        x = LABELS + limit[1] * scale
        lines.append(
            f'<line x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height - ROW}" stroke="#57606a" stroke-dasharray="4"/>'
        )
        lines.append(_text(x, height - 8, f"{limit[0]}: {limit[1]:.3g} {unit}".strip(), "middle"))
    return _svg(lines, height)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Lines through points, both axes from zero.

    Args:
        series: points (x, y) by the name of the line.
        across, up: what x and y are.
    """
    height, left, bottom, right = 320, 70, 44, 190
    points = [point for line in series.values() for point in line]
    most_x, most_y = (_nice(max(point[axis] for point in points)) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / most_x * (WIDTH - left - right), height - bottom - y / most_y * (height - bottom - 30)

    drawn = [_text(8, 18, up), _text((WIDTH - right + left) / 2, height - 6, across, "middle")]
    for step in range(5):
        (x, _), (_, y) = place(most_x * step / 4, 0), place(0, most_y * step / 4)
        drawn.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - right}" y2="{y:.1f}" stroke="#d0d7de"/>')
        drawn.append(_text(left - 8, y + 4, f"{most_y * step / 4:g}", "end"))
        drawn.append(_text(x, height - bottom + 18, f"{most_x * step / 4:g}", "middle"))
    for number, (name, line) in enumerate(series.items()):
        colour, placed = COLOURS[number % len(COLOURS)], [place(*point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        y = 34 + number * 20
        drawn.append(f'<rect x="{WIDTH - right + 16}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        drawn.append(_text(WIDTH - right + 34, y, name))
    return _svg(drawn, height)


def _nice(value: float) -> float:
    """The next number that four equal steps to it are round for."""
    step = value / 4 if value > 0 else 1.0
    power = 10 ** math.floor(math.log10(step))
    return 4 * power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= step)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(lines: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" {STYLE}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *lines, "</svg>", ""])
