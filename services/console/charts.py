"""The accuracy charts: the chosen model against all others that have closed days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from headrace.plots import Chart, Frame, Line, Marker, line_chart
from services.console.domain.facts import ReadModel
from services.console.domain.performance import Curve, Metric, curve, swaps

MOST_LINES: Final = 6
WIDE: Final = Frame(width=448, height=228, left=40, right=8)
NARROW: Final = Frame(width=350, height=220, left=40, right=8)
TITLES: Final[dict[Metric, str]] = {"auc": "AUC", "log_loss": "Log loss"}


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyChart:
    """One metric, drawn for a wide and for a narrow page, and as figures by week."""

    metric: Metric
    title: str
    better: str
    wide: Markup
    narrow: Markup
    legend: tuple[tuple[str, int, float | None], ...]
    table: tuple[tuple[str, tuple[float | None, ...]], ...]


Curves = Mapping[Metric, Sequence[Curve]]


def accuracy_curves(facts: ReadModel, model: str) -> Curves:
    """Curves of the model, first, and of the others that have closed days."""
    others = [name for name in facts.models if name != model and facts.days(name)]
    names = [model, *others][:MOST_LINES]
    return {metric: [curve(name, facts.days(name), metric) for name in names] for metric in TITLES}


def accuracy_charts(facts: ReadModel, model: str, curves: Curves) -> tuple[AccuracyChart, ...]:
    """AUC and log loss; empty while no day with labels is closed."""
    markers = tuple(
        Marker(day=swap.day, label=f"v{swap.version}") for swap in swaps(facts.days(model))
    )
    return tuple(
        _chart(metric, own, markers)
        for metric, own in curves.items()
        if any(each.points for each in own)
    )


def _chart(metric: Metric, curves: Sequence[Curve], markers: tuple[Marker, ...]) -> AccuracyChart:
    lines = [
        Line(
            name=own.model,
            color=index,
            quiet=index > 1,
            points=[(point.day, point.weekly) for point in own.points],
            dots=[(point.day, point.value) for point in own.points] if index == 1 else [],
        )
        for index, own in enumerate(curves, start=1)
        if own.points
    ]

    def drawn(frame: Frame) -> Markup:
        title = f"{TITLES[metric]}, mean of seven days"
        chart = Chart(title=title, lines=lines, markers=markers, frame=frame)
        return Markup(line_chart(chart))  # noqa: S704 - escapes what it is given

    return AccuracyChart(
        metric=metric,
        title=TITLES[metric],
        better="higher is better" if metric == "auc" else "lower is better",
        wide=drawn(WIDE),
        narrow=drawn(NARROW),
        legend=tuple(
            (own.model, index, own.latest)
            for index, own in enumerate(curves, start=1)
            if own.points
        ),
        table=_table(curves),
    )


def _table(curves: Sequence[Curve]) -> tuple[tuple[str, tuple[float | None, ...]], ...]:
    """Weekly means at the Sundays, newest first, one column a model."""
    by_model = [{point.day: point.weekly for point in own.points} for own in curves if own.points]
    days = sorted({day for column in by_model for day in column}, reverse=True)
    return tuple(
        (f"{day:%d %b %Y}", tuple(column.get(day) for column in by_model))
        for day in days
        if day.weekday() == 6
    )
