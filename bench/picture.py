"""Curves as SVG: cost against the number of locks held, both axes in powers of ten, written by hand.

Knows: lines, ticks, names at the ends of lines. Colours stand on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from bench.measure import Curve

__all__ = ["picture"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 44, 52
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56788f")


def picture(title: str, unit: str, curves: Sequence[Curve]) -> str:
    """An SVG document. unit: what the upward axis counts."""
    values = [value for curve in curves for _, value in curve.points]
    counts = [count for curve in curves for count, _ in curve.points]
    low, high = floor(log10(min(values))), max(ceil(log10(max(values))), floor(log10(min(values))) + 1)
    first, last = log10(min(counts)), max(log10(max(counts)), log10(min(counts)) + 1)

    def x(count: float) -> float:
        return LEFT + (log10(count) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="#777">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_grid_up(low, high, y, unit),
        *_grid_across(sorted(set(counts)), x),
        *_lines(curves, x, y),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid_up(low, high, y, unit):  # type: ignore[no-untyped-def]
    for power in range(low, high + 1):
        for value in (1, 2, 5) if power < high else (1,):
            at = y(value * 10.0**power)
            yield f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#999" stroke-opacity=".3"/>'
            yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value * 10.0**power:g}</text>'
    yield f'<text x="{LEFT}" y="{TOP - 4}" font-size="12">{escape(unit)}</text>'


def _grid_across(counts, x):  # type: ignore[no-untyped-def]
    for count in counts:
        yield f'<path d="M{x(count):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#999" stroke-opacity=".15"/>'
        yield f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count:,}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">locks held</text>'


def _lines(curves, x, y):  # type: ignore[no-untyped-def]
    """Each curve with its name at its end; names keep their distance."""
    taken = HEIGHT
    ends = sorted(zip(curves, COLOURS, strict=False), key=lambda pair: -y(pair[0].points[-1][1]))
    for curve, colour in sorted(ends, key=lambda pair: pair[0].points[-1][1]):
        points = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in curve.points)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        count, value = curve.points[-1]
        taken = min(y(value) + 4, taken - 16)
        yield f'<text x="{x(count) + 8:.1f}" y="{taken:.1f}" fill="{colour}">{escape(curve.name)} {value:.2g}</text>'
