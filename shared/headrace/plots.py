"""SVG plots of dated series, without a browser or a library: for the console and for reports.

Colours, fonts and strokes come from CSS: a page defines `--plot-ink`, `--plot-grid` and one
`--series-<n>` per series, and includes `STYLE`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import escape
from typing import Final

LEAST_SPAN: Final = 1e-3
"""A line that hardly moves is drawn as one, not blown up to its noise."""

STYLE: Final = """
.plot { display: block; width: 100%; height: auto; overflow: visible; }
.plot text { fill: var(--plot-ink); font-size: 11px; font-variant-numeric: tabular-nums; }
.plot-grid { stroke: var(--plot-grid); stroke-width: 1; }
.plot-line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round;
  stroke-linecap: round; }
.plot-line.quiet { stroke-width: 1.5; stroke-dasharray: 5 4; }
.plot-dots { fill: none; stroke: var(--c); stroke-width: 3.4; stroke-linecap: round; opacity: .25; }
.plot-end { fill: var(--c); }
.plot-marker line { stroke: var(--plot-marker, var(--plot-ink)); stroke-width: 1;
  stroke-dasharray: 2 3; }
.plot-marker text { fill: var(--plot-marker, var(--plot-ink)); font-weight: 600; }
.plot-target { stroke: var(--plot-target, var(--plot-ink)); stroke-width: 1.5;
  stroke-dasharray: 1.5 3; }
.plot-bar { fill: var(--c); }
.plot-cursor line { stroke: var(--plot-ink); stroke-width: 1; opacity: .5; }
.plot-cursor circle { stroke: var(--plot-surface, #fff); stroke-width: 2; fill: var(--c); }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One series of finite values. `dots` are single values drawn faintly behind the line."""

    name: str
    points: Sequence[tuple[date, float]]
    color: int
    quiet: bool = False
    dots: Sequence[tuple[date, float]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A vertical line at a day, e.g. a swap."""

    day: date
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """Size of a plot in CSS pixels, and the room around its axes."""

    width: int = 860
    height: int = 260
    left: int = 44
    right: int = 12
    top: int = 22
    bottom: int = 26


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A line chart over days. `target` draws a level that is aimed at."""

    title: str
    lines: Sequence[Line]
    markers: Sequence[Marker] = ()
    target: float | None = None
    decimals: int = 3
    frame: Frame = field(default_factory=Frame)


@dataclass(frozen=True, slots=True)
class _Scales:
    x: Callable[[date], float]
    y: Callable[[float], float]
    first: date
    last: date
    low: float
    high: float
    step: float


def line_chart(chart: Chart) -> str:
    """The chart as one `<svg>`; `data-plot` carries its figures for a hover script."""
    scales = _scales(chart)
    if scales is None:
        return ""
    frame = chart.frame
    body = "".join(
        [
            _horizontal_grid(chart, scales),
            _dates(frame, scales),
            _target(chart, scales),
            _markers(chart, scales),
            *(_dots(line, scales) for line in chart.lines),
            *(_path(line, scales) for line in reversed(chart.lines)),
        ]
    )
    return (
        f'<svg class="plot" viewBox="0 0 {frame.width} {frame.height}" role="img"'
        f' aria-label="{escape(_description(chart))}"'
        f" data-plot='{_quoted(_figures(chart, scales))}'>{body}</svg>"
    )


def bars(values: Sequence[float], *, width: int, height: int, color: int, title: str) -> str:
    """Bars from left to right, the newest last, scaled to the highest."""
    top = max(max(values, default=0), 1)
    step = width / max(len(values), 1)
    rects = "".join(
        f'<rect class="plot-bar" x="{index * step:.1f}" y="{height - size:.1f}"'
        f' width="{max(step - 1, 0.5):.1f}" height="{size:.1f}" rx="{min(1.0, step / 4):.1f}"/>'
        for index, size in enumerate(_bar_height(value, top, height) for value in values)
        if size > 0
    )
    return (
        f'<svg class="plot plot-bars" viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(title)}" style="--c:var(--series-{color})">{rects}</svg>'
    )


def nice_step(span: float, count: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides `span` into about `count` parts."""
    if span <= 0:
        return 1.0
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if raw <= factor * power * 1.0001)


def date_ticks(first: date, last: date, most: int) -> list[date]:
    """At most `most` round dates in between: days, Mondays or firsts of months."""
    days = (last - first).days
    if days <= most:
        return [first + timedelta(days=offset) for offset in range(days + 1)]
    if days / 7 <= most:
        monday = first + timedelta(days=-first.weekday() % 7)
        return [monday + timedelta(weeks=week) for week in range((last - monday).days // 7 + 1)]
    months = [
        date(year, month, 1)
        for year in range(first.year, last.year + 1)
        for month in range(1, 13)
        if first <= date(year, month, 1) <= last
    ]
    return months[:: max(1, math.ceil(len(months) / most))]


def _bar_height(value: float, top: float, height: int) -> float:
    return max(1.5, value / top * height) if value > 0 else 0.0


def _scales(chart: Chart) -> _Scales | None:
    days = [day for line in chart.lines for day, _ in line.points]
    values = [value for line in chart.lines for _, value in line.points]
    if chart.target is not None and values:
        values.append(chart.target)
    if not values:
        return None
    first, last = min(days), max(days)
    step = nice_step(max(max(values) - min(values), LEAST_SPAN), 4)
    low = math.floor(min(values) / step) * step
    high = max(math.ceil(max(values) / step) * step, low + step)
    frame = chart.frame
    span = max((last - first).days, 1)
    inner_width = frame.width - frame.left - frame.right
    inner_height = frame.height - frame.top - frame.bottom
    return _Scales(
        x=lambda day: frame.left + (day - first).days / span * inner_width,
        y=lambda value: frame.top + (high - value) / (high - low) * inner_height,
        first=first,
        last=last,
        low=low,
        high=high,
        step=step,
    )


def _horizontal_grid(chart: Chart, scales: _Scales) -> str:
    frame = chart.frame
    places = max(0, -math.floor(math.log10(scales.step) + 1e-9))
    parts = []
    for index in range(round((scales.high - scales.low) / scales.step) + 1):
        value = scales.low + index * scales.step
        y, text = scales.y(value), f"{value:.{places}f}"
        parts.append(
            f'<line class="plot-grid" x1="{frame.left}" x2="{frame.width - frame.right}"'
            f' y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
    return "".join(parts)


def _dates(frame: Frame, scales: _Scales) -> str:
    ticks = date_ticks(scales.first, scales.last, max(2, frame.width // 70))
    monthly = all(tick.day == 1 for tick in ticks)
    parts = []
    for index, tick in enumerate(ticks):
        new_year = index == 0 or tick.year != ticks[index - 1].year
        text = f"{tick:%b}" if monthly else f"{tick.day} {tick:%b}"
        text += f" {tick.year}" if monthly and new_year else ""
        anchor = "start" if scales.x(tick) < frame.left + 20 else "middle"
        anchor = "end" if scales.x(tick) > frame.width - frame.right - 20 else anchor
        parts.append(
            f'<text x="{scales.x(tick):.1f}" y="{frame.height - 8}"'
            f' text-anchor="{anchor}">{text}</text>'
        )
    return "".join(parts)


def _target(chart: Chart, scales: _Scales) -> str:
    if chart.target is None:
        return ""
    frame, y = chart.frame, scales.y(chart.target)
    return (
        f'<line class="plot-target" x1="{frame.left}" x2="{frame.width - frame.right}"'
        f' y1="{y:.1f}" y2="{y:.1f}"><title>target {chart.target}</title></line>'
    )


def _markers(chart: Chart, scales: _Scales) -> str:
    frame, parts = chart.frame, []
    free = -math.inf
    for marker in sorted(chart.markers, key=lambda own: own.day):
        if not scales.first <= marker.day <= scales.last:
            continue
        x = scales.x(marker.day)
        label = (
            f'<text x="{x:.1f}" y="{frame.top - 9}" text-anchor="middle">'
            f"{escape(marker.label)}</text>"
        )
        parts.append(
            f'<g class="plot-marker"><line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top - 4}"'
            f' y2="{frame.height - frame.bottom}"/>{label if x >= free else ""}</g>'
        )
        free = max(free, x + 7 * len(marker.label) + 6) if x >= free else free
    return "".join(parts)


def _dots(line: Line, scales: _Scales) -> str:
    dots = "".join(
        f"M{scales.x(day):.1f} {scales.y(value):.1f}h0"
        for day, value in line.dots
        if scales.low <= value <= scales.high and scales.first <= day <= scales.last
    )
    if not dots:
        return ""
    return f'<path class="plot-dots" data-series="{line.color}"{_tint(line)} d="{dots}"/>'


def _path(line: Line, scales: _Scales) -> str:
    if not line.points:
        return ""
    places = [(scales.x(day), scales.y(value)) for day, value in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    end_x, end_y = places[-1]
    quiet = " quiet" if line.quiet else ""
    return (
        f'<g data-series="{line.color}"{_tint(line)}><path class="plot-line{quiet}" d="{path}"/>'
        f'<circle class="plot-end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3"/></g>'
    )


def _tint(line: Line) -> str:
    return f' style="--c:var(--series-{line.color})"'


def _figures(chart: Chart, scales: _Scales) -> str:
    """What a hover script needs: the scales, and per line its days (from the first) and values."""
    frame = chart.frame
    return json.dumps(
        {
            "decimals": chart.decimals,
            "first": scales.first.isoformat(),
            "days": max((scales.last - scales.first).days, 1),
            "left": frame.left,
            "right": frame.width - frame.right,
            "top": frame.top,
            "bottom": frame.height - frame.bottom,
            "low": scales.low,
            "high": scales.high,
            "lines": [
                {
                    "name": line.name,
                    "color": line.color,
                    "days": [(day - scales.first).days for day, _ in line.points],
                    "values": [round(value, 4) for _, value in line.points],
                }
                for line in chart.lines
            ],
        },
        separators=(",", ":"),
    )


def _quoted(text: str) -> str:
    """For an attribute in single quotes; JSON is full of double ones."""
    return escape(text, quote=False).replace("'", "&#39;")


def _description(chart: Chart) -> str:
    parts = [
        f"{line.name} from {line.points[0][1]:.{chart.decimals}f} to"
        f" {line.points[-1][1]:.{chart.decimals}f}"
        for line in chart.lines
        if line.points
    ]
    return f"{chart.title}: {'; '.join(parts)}"
