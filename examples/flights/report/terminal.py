"""The report as a person reads it at the end of `make demo`."""

from __future__ import annotations

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from examples.flights.report.data import Period, ReportData
from examples.flights.report.targets import verdicts
from headrace.moments import plain


def show(data: ReportData, console: Console) -> None:
    """Print targets, arms by month, alerts, turns and swaps."""
    console.print(
        Padding(
            Group(
                _title(data),
                _targets(data),
                _arms(data),
                _turns(data),
                _alerts(data),
                _swaps(data),
                _run(data),
            ),
            (1, 0),
        )
    )


def _title(data: ReportData) -> Text:
    client = data.client
    return Text.from_markup(
        f"[bold]{escape(data.model)}, {data.first:%d %b} to {data.last:%d %b %Y}[/]\n"
        f"[dim]{client.requests:,} requests, {client.rows:,} predictions, "
        f"{client.labels:,} late labels; means are over ISO weeks[/]\n"
    )


def _table(title: str) -> Table:
    """A table without lines; what is too wide for the terminal is folded, never cut."""
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _targets(data: ReportData) -> Table:
    table = _table("Targets")
    for name in ("", "result", "target", ""):
        table.add_column(name, justify="right" if name else "left")
    for verdict in verdicts(data):
        mark = {True: "[green]met[/]", False: "[bold red]missed[/]", None: "[dim]-[/]"}
        table.add_row(verdict.name, verdict.result, verdict.target, mark[verdict.met])
    return table


def _arms(data: ReportData) -> Table:
    table = _table("\nAUC / log loss by month")
    table.add_column("")
    for arm in data.arms:
        table.add_column(arm.title, justify="right")
    months = sorted({month.first for arm in data.arms for month in arm.monthly})
    for first in months:
        cells = [
            _pair(next((month for month in arm.monthly if month.first == first), None))
            for arm in data.arms
        ]
        table.add_row(f"{first:%b %Y}", *cells)
    means = [f"[bold]{_figure(arm.auc)} / {_figure(arm.log_loss)}[/]" for arm in data.arms]
    table.add_row("[bold]mean of weeks[/]", *means)
    table.add_row("[dim]retrainings[/]", *[f"[dim]{arm.retrainings}[/]" for arm in data.arms])
    return table


def _turns(data: ReportData) -> Table:
    table = _table("\nTurns of the loop")
    for name in (
        "alert (event time)",
        "model",
        "from alert to first answer",
        "what took longest, or why not",
    ):
        table.add_column(name, overflow="fold")
    for turn in data.turns:
        took = f"{turn.seconds:.1f} s" if turn.seconds is not None else f"[yellow]{turn.outcome}[/]"
        version = f" v{turn.version}" if turn.version else ""
        slowest = max(
            zip(turn.links, turn.links[1:], strict=False),
            key=lambda pair: pair[1].wall - pair[0].wall,
            default=None,
        )
        longest = (
            f"{slowest[1].name} {escape(plain(slowest[1].about))}"
            if slowest
            else "[dim]one event[/]"
        )
        table.add_row(
            f"{turn.detected_at:%d %b %H:%M}",
            f"{turn.model}{version}",
            took,
            escape(plain(turn.reason or longest)),
        )
    return table


def _alerts(data: ReportData) -> Table:
    table = _table("\nAlerts")
    for name in ("event time", "model", "kind", "evidence", "what it started"):
        table.add_column(name, overflow="fold")
    for alert in (own for own in data.alerts if own.model == data.model):
        found = alert.evidence
        evidence = (
            f"{found.statistic} {found.value:.2f} > {found.threshold:.2f}" if found else "none"
        )
        started = {
            "started": "[green]a retraining[/]",
            "awaiting_data": "[yellow]waited for data[/]",
            "suppressed": f"[dim]nothing: {escape(plain(alert.reason))}[/]",
            "none": "[dim]nothing: for people on call[/]",
        }[alert.consequence]
        version = f" v{alert.version}" if alert.version else ""
        table.add_row(
            f"{alert.detected_at:%d %b %H:%M}",
            f"{alert.model}{version}",
            alert.kind.replace("_", " "),
            escape(evidence),
            started,
        )
    others = sum(alert.model != data.model for alert in data.alerts)
    if others:
        table.caption = f"and {others} of models without a loop: see the page"
        table.caption_justify = "left"
    return table


def _swaps(data: ReportData) -> Table:
    table = _table("\nSwaps under traffic")
    for name in ("event day", "model", "loaded", "swapped", "requests", "failed"):
        table.add_column(name, justify="left" if name in {"event day", "model"} else "right")
    for swap in data.swaps:
        failed = "[green]0[/]" if swap.failed == 0 else f"[bold red]{swap.failed}[/]"
        table.add_row(
            f"{swap.event_day:%d %b}",
            f"{swap.model} v{swap.version}",
            f"{swap.load_ms:.0f} ms",
            f"{swap.swap_ms:.1f} ms",
            f"{swap.requests:,}",
            failed,
        )
    return table


def _run(data: ReportData) -> Text:
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in data.seconds.items())
    place = data.environment
    return Text(f"\n{parts}\n{place.cpu}, {place.cores} cores, Python {place.python}", style="dim")


def _pair(period: Period | None) -> str:
    return f"{_figure(period.auc)} / {_figure(period.log_loss)}" if period else "-"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
