"""The report as one HTML page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from examples.flights.report import targets
from examples.flights.report.data import Arm, Period, ReportData, TimedTurn
from headrace.moments import day, plain
from headrace.plots import STYLE, Chart, Frame, Line, Marker, line_chart

COLORS: Final = {"looped": 1, "january": 2, "timer": 3}
WIDE: Final = Frame(width=1040, height=320)
NARROW: Final = Frame(width=350, height=240, left=40, right=8)
MILESTONES: Final = (
    ("Decide", "RetrainDecided"),
    ("Train", "ModelVersionCreated"),
    ("Gate", "PromotionDecided"),
    ("Deploy", "ModelDeployed"),
    ("Answer", "FirstAnswerServed"),
)
"""What the time of a turn went into: each part ends with the last such event."""


def page(data: ReportData) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(day=day, moment=_moment, figure=_figure, words=_words, plain=plain)
    return environment.get_template("page.html.jinja").render(
        data=data,
        plot_style=Markup(STYLE),  # noqa: S704 - our own style sheet
        verdicts=targets.verdicts(data),
        arms=sorted(data.arms, key=lambda arm: COLORS[arm.key]),
        colors=COLORS,
        alerts=[alert for alert in data.alerts if alert.model == data.model],
        others=[alert for alert in data.alerts if alert.model != data.model],
        charts=(
            ("AUC", "higher is better", *_charts(data, "AUC", lambda week: week.auc, targets.AUC)),
            (
                "Log loss",
                "lower is better",
                *_charts(data, "Log loss", lambda week: week.log_loss, targets.LOG_LOSS),
            ),
        ),
        months=sorted({month.first for arm in data.arms for month in arm.monthly}),
        weeks=sorted({(week.first, week.name) for arm in data.arms for week in arm.weekly}),
        period=_period,
        phases=phases,
        longest=max((turn.lasted for turn in data.turns), default=0.0) or 1.0,
        events={link.event_id for turn in data.turns for link in turn.links},
    )


def phases(turn: TimedTurn) -> list[tuple[str, float]]:
    """Parts of a turn by name, in seconds, without gaps or overlaps from the alert on."""
    parts, before = [], turn.links[0].wall
    for name, event in MILESTONES:
        ends = [link.wall for link in turn.links if link.name == event]
        if ends and ends[-1] >= before:
            parts.append((name, (ends[-1] - before).total_seconds()))
            before = ends[-1]
    return parts


def _charts(
    data: ReportData, title: str, value: Callable[[Period], float | None], target: float
) -> tuple[Markup, Markup]:
    lines = [
        Line(
            name=arm.title,
            color=COLORS[arm.key],
            quiet=arm.key != "looped",
            points=[
                (week.first, found)
                for week in arm.weekly
                for found in [value(week)]
                if found is not None
            ],
        )
        for arm in data.arms
    ]
    markers = [
        Marker(day=swap.event_day, label=f"v{swap.version}")
        for swap in data.swaps
        if swap.model == data.model
    ]
    drawn = (
        line_chart(
            Chart(
                title=f"{title} by week", lines=lines, markers=markers, target=target, frame=frame
            )
        )
        for frame in (WIDE, NARROW)
    )
    wide, narrow = (Markup(svg) for svg in drawn)  # noqa: S704 - escapes what it is given
    return wide, narrow


def _period(arm: Arm, first: object, *, weekly: bool = False) -> Period | None:
    found = arm.weekly if weekly else arm.monthly
    return next((period for period in found if period.first == first), None)


def _moment(value: datetime) -> str:
    utc = value.astimezone(UTC)
    return f"{utc.day} {utc:%b %Y, %H:%M:%S}"


def _figure(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def _words(name: str) -> str:
    return name.replace("_", " ")
