"""What the demo sets out to reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from examples.flights.report.data import ReportData

AUC: Final = 0.688
LOG_LOSS: Final = 0.508
RETRAININGS: Final = 12
SECONDS: Final = 30.0
DAYS: Final = 1.0
FAILED: Final = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One target beside its result. `met` is None where there is no result."""

    name: str
    result: str
    target: str
    met: bool | None


def verdicts(data: ReportData) -> tuple[Verdict, ...]:
    """Every target of the demo; AUC and log loss are means of weekly figures."""
    looped = data.arm("looped")
    return (
        _verdict("AUC, looped", looped.auc, AUC, higher=True, form="{:.3f}"),
        _verdict("Log loss, looped", looped.log_loss, LOG_LOSS, higher=False, form="{:.3f}"),
        _verdict("Retrainings", looped.retrainings, RETRAININGS, higher=False, form="{:.0f}"),
        _verdict("Alert to answer, slowest", data.slowest, SECONDS, higher=False, form="{:.1f} s"),
        _verdict(
            "Event-days in a retraining", data.event_days_open, DAYS, higher=False, form="{:.2f}"
        ),
        _verdict("Failed requests", data.client.failed, FAILED, higher=False, form="{:.0f}"),
    )


def _verdict(name: str, result: float | None, target: float, *, higher: bool, form: str) -> Verdict:
    sign = "\N{GREATER-THAN OR EQUAL TO}" if higher else "\N{LESS-THAN OR EQUAL TO}"
    shown = f"{sign} {form.format(target)}" if target else form.format(target)
    if result is None:
        return Verdict(name=name, result="no result", target=shown, met=None)
    met = result >= target if higher else result <= target
    return Verdict(name=name, result=form.format(result), target=shown, met=met)
