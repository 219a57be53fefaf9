from __future__ import annotations

import io
import json
import math
import random
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from examples.flights.report import ReportData, read, write
from examples.flights.report.data import Arm, ArmKey, Client, Swap, this_machine
from examples.flights.report.facts import alert_rows, timed_turns
from examples.flights.report.metrics import monthly, weekly
from examples.flights.report.page import page, phases
from examples.flights.report.targets import verdicts
from examples.flights.report.terminal import show
from headrace.errors import InvalidInput
from headrace.events import AlertRaised, EventData, ModelDeployed, PromotionDecided
from tests.harness.recorded import DRIFTS, recorded_year

FIRST = date(2013, 2, 1)
END = date(2014, 1, 1)
ARMS: dict[ArmKey, tuple[str, float, int]] = {
    "looped": ("Looped", 0.0, 5),
    "january": ("January's model, never retrained", 0.06, 0),
    "timer": ("Timer, as many retrainings", 0.01, 5),
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A fact as the demo's driver sees it."""

    id: str
    correlation_id: str
    causation_id: str | None
    wall: datetime
    data: EventData


@cache
def facts() -> list[Seen]:
    return [
        Seen(
            id=event.envelope.id,
            correlation_id=event.envelope.correlation_id or event.envelope.id,
            causation_id=event.envelope.causation_id,
            wall=event.envelope.time,
            data=event.data,
        )
        for event in recorded_year()
    ]


def arm(key: ArmKey) -> Arm:
    """An arm whose scores fade with the months, as if the world moved on."""
    title, fade, retrainings = ARMS[key]
    generator = np.random.default_rng(3)
    rows = 40_000
    days = np.datetime64(FIRST) + generator.integers(0, (END - FIRST).days, rows)
    months = (days - np.datetime64(FIRST)).astype(float) / 30
    chance = 1 / (1 + np.exp(1.3 - 0.85 * generator.normal(size=rows)))
    labels = generator.random(rows) < chance
    noise = (0.35 + fade * months) * np.random.default_rng(len(key)).normal(size=rows)
    scores = 1 / (1 + np.exp(-np.log(chance / (1 - chance)) - noise))
    return Arm(
        key=key,
        title=title,
        retrainings=retrainings,
        weekly=weekly(scores, labels, days),
        monthly=monthly(scores, labels, days),
    )


@cache
def year() -> ReportData:
    deployed = [fact.data for fact in facts() if isinstance(fact.data, ModelDeployed)]
    return ReportData(
        model="flights",
        first=FIRST,
        end=END,
        made_at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        arms=tuple(arm(key) for key in ARMS),
        alerts=alert_rows(facts()),
        turns=timed_turns(facts()),
        swaps=tuple(
            Swap(
                model="flights",
                version=data.version,
                event_day=DRIFTS[data.version - 2],
                swap_ms=data.swap_ms,
                load_ms=data.load_ms,
                requests=412,
                failed=0,
            )
            for data in deployed
            if data.version > 1
        ),
        client=Client(
            requests=61_804,
            rows=619_732,
            labels=602_481,
            failed=0,
            latency_p50_ms=3.1,
            latency_p99_ms=11.8,
        ),
        seconds={"start of the stack": 9.2, "first model": 21.3, "replay": 402.7},
        environment=this_machine(),
    )


def naive_auc(scores: list[float], labels: list[bool]) -> float:
    wins = [
        (high > low) + 0.5 * (high == low)
        for high, positive in zip(scores, labels, strict=True)
        if positive
        for low, other in zip(scores, labels, strict=True)
        if not other
    ]
    return sum(wins) / len(wins)


def test_weekly_figures_are_what_their_definitions_say() -> None:
    order = random.Random(5)
    scores = [0.05 + 0.9 * round(order.random(), 1) for _ in range(80)]
    labels = [order.random() < 0.4 for _ in range(80)]

    (week,) = weekly(scores, labels, np.full(80, np.datetime64("2013-02-06T23:10", "us")))

    losses = [
        -math.log(score if label else 1 - score)
        for score, label in zip(scores, labels, strict=True)
    ]
    assert (week.name, week.first, week.rows) == ("2013-W06", date(2013, 2, 4), 80)
    assert week.auc == pytest.approx(naive_auc(scores, labels))
    assert week.log_loss == pytest.approx(sum(losses) / 80)


def test_iso_weeks_belong_to_the_year_of_their_thursday() -> None:
    days = np.array(["2013-12-29", "2013-12-30", "2014-01-01"], "datetime64[D]")

    assert [week.name for week in weekly([0.1] * 3, [0] * 3, days)] == ["2013-W52", "2014-W01"]
    assert [month.name for month in monthly([0.1] * 3, [0] * 3, days)] == ["2013-12", "2014-01"]


def test_a_week_of_one_class_has_no_auc_and_does_not_count() -> None:
    days = np.array(["2013-02-04"] * 2 + ["2013-02-11"] * 2, "datetime64[D]")
    weeks = weekly([0.1, 0.9, 0.9, 0.1], [0, 0, 1, 0], days)
    found = replace(arm("looped"), weekly=weeks)

    assert [week.auc for week in weeks] == [None, 1.0]
    assert found.auc == 1.0


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one row each"):
        weekly([0.1], [0, 1], np.array(["2013-02-04"], "datetime64[D]"))


def test_every_alert_is_told_with_what_it_started() -> None:
    consequences = [alert.consequence for alert in year().alerts]

    assert consequences.count("started") == len(DRIFTS)
    assert consequences.count("suppressed") == 1
    assert all(alert.evidence for alert in year().alerts)


def test_an_alarm_while_an_alert_stands_is_a_row_of_its_own() -> None:
    quiet = [fact for fact in facts() if not isinstance(fact.data, AlertRaised)]

    rows = alert_rows(quiet)

    assert [row.consequence for row in rows] == [row.consequence for row in year().alerts]
    assert all("still drifts" in row.title for row in rows)


def test_every_turn_is_timed_from_its_alert_to_the_first_answer() -> None:
    turns = year().turns

    assert [turn.version for turn in turns] == [2, 3, 4, 5, 6]
    for turn in turns:
        assert turn.links[0].name == "DriftDetected"
        assert turn.seconds == pytest.approx(14.09, abs=0.01)
        assert sum(seconds for _, seconds in phases(turn)) == pytest.approx(turn.seconds)


def test_every_cause_in_a_chain_is_an_event_before_it() -> None:
    for turn in year().turns:
        before: set[str] = set()
        for link in turn.links:
            assert link.causation_id is None or link.causation_id in before
            before.add(link.event_id)


def test_the_order_in_which_facts_were_seen_does_not_matter() -> None:
    shuffled = list(facts())
    random.Random(1).shuffle(shuffled)

    assert timed_turns(shuffled) == timed_turns(facts())
    assert alert_rows(shuffled) == alert_rows(facts())


def test_targets_stand_beside_results() -> None:
    slow = replace(year(), client=replace(year().client, failed=2))

    met = {verdict.name: verdict.met for verdict in verdicts(slow)}

    assert met["Alert to answer, slowest"] is True
    assert met["Failed requests"] is False


def test_without_a_turn_there_is_no_result_and_no_target_met() -> None:
    idle = replace(year(), turns=(), alerts=(), swaps=())

    (verdict,) = (own for own in verdicts(idle) if own.name == "Alert to answer, slowest")

    assert (verdict.result, verdict.met) == ("no result", None)
    assert "No drift alert started a retraining" in page(idle)


def test_json_holds_the_same_figures_and_can_be_read_again(tmp_path: Path) -> None:
    written = write(year(), tmp_path / "report")

    document = json.loads(written.figures.read_bytes())

    assert read(written.figures) == year()
    assert document["headline"]["looped"]["auc_mean_of_weeks"] == year().arm("looped").auc
    assert f"{document['headline']['timer']['auc_mean_of_weeks']:.3f}" in written.page.read_text()


def test_a_broken_json_is_refused_by_field(tmp_path: Path) -> None:
    written = write(year(), tmp_path)
    document = json.loads(written.figures.read_bytes())
    document["client"]["rows"] = "many"
    written.figures.write_text(json.dumps(document))

    with pytest.raises(InvalidInput, match=r"client\.rows"):
        read(written.figures)


def test_the_page_needs_no_network() -> None:
    html = page(year())

    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"|url\(|@import|<script", html) == []
    assert html.count("<svg") == 4


def test_every_link_of_the_page_leads_to_an_event_on_it() -> None:
    first = year().turns[0]
    outside = replace(first.links[0], causation_id="an-event-that-the-report-does-not-hold")
    turn = replace(first, links=(outside, *first.links[1:]))
    html = page(replace(year(), turns=(turn,)))

    links = set(re.findall(r'href="#e-([^"]+)"', html))

    assert links
    assert links <= set(re.findall(r'id="e-([^"]+)"', html))


def test_text_from_events_cannot_become_markup() -> None:
    evil = replace(year().alerts[0], title="<script>alert(1)</script>[bold]")
    data = replace(year(), alerts=(evil,))

    assert "<script>alert" not in page(data)


def test_the_terminal_shows_targets_months_and_alerts() -> None:
    text = io.StringIO()

    show(year(), Console(file=text, width=160))

    for expected in ("AUC, looped", "Mar 2013", "mean of weeks", "the cooldown is 28", "v6"):
        assert expected in text.getvalue()


def test_a_turn_that_came_to_nothing_says_why() -> None:
    chain = [fact for fact in facts() if fact.correlation_id == year().turns[0].links[0].event_id]
    cut = [fact for fact in chain if fact.wall < chain[0].wall + timedelta(seconds=5)]

    (turn,) = timed_turns(cut)

    assert (turn.seconds, turn.outcome) == (None, "unfinished")
    assert turn.lasted < 5


def test_a_rejected_version_is_told_with_the_reason_of_the_gate() -> None:
    chain = [fact for fact in facts() if fact.correlation_id == year().turns[0].links[0].event_id]
    decided = next(fact for fact in chain if isinstance(fact.data, PromotionDecided))
    rejection = decided.data.model_copy(update={"outcome": "rejected", "reason": "log loss worse"})
    until = [fact for fact in chain if fact.wall < decided.wall]

    (turn,) = timed_turns([*until, replace(decided, data=rejection)])

    assert (turn.seconds, turn.outcome, turn.reason) == (None, "rejected", "log loss worse")
    assert "rejected: log loss worse" in page(replace(year(), turns=(turn,)))
