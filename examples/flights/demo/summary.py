"""From what happened to what the report shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from examples.flights.demo.arms import Scored
from examples.flights.demo.replay import Traffic
from examples.flights.demo.run import Outcome
from examples.flights.demo.watch import Seen
from examples.flights.features import MODEL
from examples.flights.report.data import Arm, ArmKey, Client, ReportData, Swap, this_machine
from examples.flights.report.facts import alert_rows, timed_turns
from examples.flights.report.metrics import monthly, weekly
from headrace.events import FirstAnswerServed, ModelDeployed, ModelPromoted


def report_data(outcome: Outcome, *, start_seconds: float) -> ReportData:
    """The report of a finished demo; `start_seconds` is what starting the stack took."""
    facts = outcome.watch.facts
    count = outcome.retrainings
    return ReportData(
        model=MODEL,
        first=outcome.span.first,
        end=outcome.span.end,
        made_at=datetime.now(UTC),
        arms=(
            _arm("january", "January's model, never retrained", 0, outcome.january),
            _arm("timer", "A timer, as often", count, outcome.timer),
            _arm("looped", "The loop", count, outcome.looped),
        ),
        alerts=alert_rows(facts),
        turns=timed_turns(facts),
        swaps=_swaps(facts, outcome.traffic),
        client=_client(outcome.traffic),
        seconds=_seconds(outcome, start_seconds),
        environment=this_machine(),
        event_days_open=outcome.slowest_retraining / timedelta(days=1),
    )


def _arm(key: ArmKey, title: str, retrainings: int, scored: Scored) -> Arm:
    columns = (scored.score, scored.label, scored.event_time)
    return Arm(
        key=key,
        title=title,
        retrainings=retrainings,
        weekly=weekly(*columns),
        monthly=monthly(*columns),
    )


def _swaps(facts: Iterable[Seen], traffic: Traffic) -> tuple[Swap, ...]:
    """Swaps of the replay: between promotion and first answer, what was asked and what failed."""
    promoted: dict[tuple[str, int], datetime] = {}
    deployed: dict[tuple[str, int], ModelDeployed] = {}
    swaps = []
    for fact in facts:
        match fact.data:
            case ModelPromoted(model=model, version=version):
                promoted[model, version] = fact.wall
            case ModelDeployed(model=model, version=version) as deployment:
                deployed[model, version] = deployment
            case FirstAnswerServed(model=model, version=version) if version > 1:
                key = (model, version)
                span = (promoted[key].timestamp(), fact.wall.timestamp())
                swaps.append(_swap(deployed[key], span, traffic))
            case _:
                continue
    return tuple(swaps)


def _swap(deployment: ModelDeployed, span: tuple[float, float], traffic: Traffic) -> Swap:
    first = next(
        answer.event_time
        for answer in traffic.first_answers
        if (answer.model, answer.version) == (deployment.model, deployment.version)
    )
    return Swap(
        model=deployment.model,
        version=deployment.version,
        event_day=first.date(),
        swap_ms=deployment.swap_ms,
        load_ms=deployment.load_ms,
        requests=_between(traffic.answered_at, span),
        failed=_between(traffic.failed_at, span),
    )


def _between(moments: list[float], span: tuple[float, float]) -> int:
    first, last = span
    return sum(first <= moment <= last for moment in moments)


def _client(traffic: Traffic) -> Client:
    latencies = np.array(traffic.latencies_ms or [0.0])
    return Client(
        requests=traffic.requests,
        rows=traffic.rows,
        labels=traffic.labels,
        failed=len(traffic.failed),
        latency_p50_ms=float(np.percentile(latencies, 50)),
        latency_p99_ms=float(np.percentile(latencies, 99)),
    )


def _seconds(outcome: Outcome, start_seconds: float) -> Mapping[str, float]:
    return {
        "stack start": start_seconds,
        **outcome.seconds,
        "of the replay, waited for monitoring": outcome.waited_for_monitoring,
    }
