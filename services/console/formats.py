"""How figures and times look on the page."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup

from headrace.moments import day


def duration(seconds: float | None) -> str:
    """Seconds for people: 240 ms, 18.4 s, 2 min 05 s, 3 h 10 min."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def number(value: float) -> str:
    """Thousands apart: 336 776."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def figure(value: float | None, places: int = 3) -> str:
    """A metric, or a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.{places}f}"


def clock(moment: datetime) -> Markup:
    """Wall-clock time of day; the browser turns it into its own time zone."""
    utc = moment.astimezone(UTC)
    return Markup('<time datetime="{}" data-clock>{} UTC</time>').format(
        utc.isoformat(timespec="milliseconds"), f"{utc:%H:%M:%S}"
    )


def moment(value: datetime) -> Markup:
    """Wall-clock date and time of day."""
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}" data-moment>{} UTC</time>').format(
        utc.isoformat(timespec="milliseconds"), f"{day(utc)}, {utc:%H:%M:%S}"
    )


def ticking(since: datetime) -> Markup:
    """Seconds since then, counted on by the browser."""
    return Markup('<time datetime="{0}" data-since>since {1:%H:%M:%S} UTC</time>').format(
        since.astimezone(UTC).isoformat(timespec="milliseconds"), since.astimezone(UTC)
    )


def short(identifier: str | None) -> str:
    """The telling end of a UUIDv7."""
    return "" if identifier is None else identifier.replace("-", "")[-8:]


def words(name: str) -> str:
    """data_drift as data drift, log_loss as log loss."""
    return name.replace("_", " ").replace("-", " ")


def metric(name: str) -> str:
    """Auc as AUC, log_loss as log loss."""
    return "AUC" if name.lower() == "auc" else words(name)
