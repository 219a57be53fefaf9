"""A year of the loop as it would be recorded: two models, one retrained, one never."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from headrace.events import (
    AlertRaised,
    AlertResolved,
    DatasetVersionCreated,
    DeploymentState,
    DriftDetected,
    Envelope,
    EventData,
    Evidence,
    FeatureShift,
    FirstAnswerServed,
    GateEvidence,
    MetricPair,
    ModelAliasState,
    ModelDeployed,
    ModelPromoted,
    ModelVersionCreated,
    MonitoredDayClosed,
    PipelineRunChanged,
    PromotionDecided,
    PromotionRequested,
    RetrainDecided,
    StepChanged,
    contract_of,
)

STEPS = {
    "snapshot": 0.9,
    "train": 6.4,
    "evaluate": 1.6,
    "convert": 1.9,
    "register": 1.2,
    "promote": 0.7,
}
DIGEST = "sha256:" + "ab" * 32
DRIFTS = (
    date(2013, 3, 9),
    date(2013, 4, 18),
    date(2013, 6, 3),
    date(2013, 7, 12),
    date(2013, 9, 7),
)
SUPPRESSED = date(2013, 4, 29)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One event of the recording."""

    envelope: Envelope
    data: EventData


@dataclass
class Recorder:
    """Writes events down; `now` is the wall clock of the recording."""

    now: datetime
    random: random.Random
    events: list[Recorded] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def emit(self, data: EventData, *, turn: str | None = None, cause: str | None = None) -> str:
        identity = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self._write(data, identity, turn, cause)
        return identity

    def emit_state(self, data: EventData, *, turn: str | None, cause: str) -> None:
        """The state record that goes with an event; it draws nothing from `random`."""
        self._write(data, str(uuid.uuid5(uuid.UUID(cause), type(data).__name__)), turn, cause)

    def _write(self, data: EventData, identity: str, turn: str | None, cause: str | None) -> None:
        contract = contract_of(data)
        envelope = Envelope(
            id=identity,
            source=f"/{contract.service}",
            type=contract.type,
            time=self.now,
            correlation_id=turn or identity,
            causation_id=cause,
        )
        self.events.append(Recorded(envelope=envelope, data=data))


def at(day: date, hour: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def recorded_year(
    *,
    began: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC),
    last: date = date(2013, 12, 31),
    seed: int = 7,
) -> list[Recorded]:
    """January is trained on; the replay begins in February. Wall time: 1.4 s an event-day."""
    recorder = Recorder(now=began, random=random.Random(seed))
    for model in ("flights", "flights-static"):
        promote_by_hand(recorder, model)
    version = 1
    for offset in range((last - date(2013, 2, 1)).days + 1):
        day = date(2013, 2, 1) + timedelta(days=offset)
        recorder.wait(1.4)
        for model, current in (("flights", version), ("flights-static", 1)):
            emit_day(recorder, model, current, day)
        emit_labelled(recorder, day)
        if day in DRIFTS:
            turn = emit_drift(recorder, day, version)
            emit_retraining(recorder, turn, day, version + 1)
            version += 1
        if day == SUPPRESSED:
            turn = emit_drift(recorder, day, version)
            emit_suppressed(recorder, turn)
    return recorder.events


def promote_by_hand(recorder: Recorder, model: str) -> None:
    recorder.emit(ModelVersionCreated(model=model, version=1, source="mlflow-artifacts:/1/a"))
    recorder.wait(0.8)
    asked = recorder.emit(
        PromotionRequested(
            request_id=f"{model}-request-1",
            model=model,
            version=1,
            requested_by="ada",
            digest=DIGEST,
            files=[],
        )
    )
    emit_swap(recorder, model, 1, asked, asked, evidence=None)


def emit_day(recorder: Recorder, model: str, version: int, day: date) -> None:
    month = (day - date(2013, 2, 1)).days / 30
    decay = 0.004 * month if model == "flights" else 0.009 * month + 0.012
    noise = recorder.random.gauss(0, 0.022)
    season = 0.012 * math.sin(month)
    recorder.emit(
        MonitoredDayClosed(
            model=model,
            version=version,
            day=day.isoformat(),
            predictions=905 + recorder.random.randrange(60),
            labelled=890,
            auc=round(0.718 - decay + season + noise, 4),
            log_loss=round(0.488 + decay * 0.7 - season * 0.6 - noise * 0.5, 4),
            closed_at=at(day + timedelta(days=2)),
        )
    )


def emit_labelled(recorder: Recorder, day: date) -> None:
    number = (day - date(2013, 1, 31)).days
    recorder.emit(
        DatasetVersionCreated(
            dataset="flights-labelled",
            version=number,
            digest=DIGEST,
            rows=number * 890,
            segments=number,
            origin="labelled",
            model="flights",
            labelled_through=at(day),
        )
    )


def evidence_of(day: date) -> Evidence:
    return Evidence(
        detector="cusum",
        statistic="log_loss",
        value=14.2,
        threshold=9.8,
        expected_days_between_false_alarms=365,
        baseline_days=31,
        window_start=at(day - timedelta(days=9)),
        window_end=at(day),
        window_rows=8120,
        onset=at(day - timedelta(days=6)),
        features=[
            FeatureShift(
                feature="wind_gust", statistic="mean", baseline=9.1, current=14.8, deviation=4.2
            ),
            FeatureShift(
                feature="precip",
                statistic="share above 0",
                baseline=0.03,
                current=0.11,
                deviation=3.1,
            ),
        ],
    )


def emit_drift(recorder: Recorder, day: date, version: int, model: str = "flights") -> str:
    drift = DriftDetected(
        model=model,
        version=version,
        monitor="log-loss",
        drift_epoch=f"{model}-{day}",
        kind="performance",
        severity="warning",
        detected_at=at(day, 6),
        evidence=evidence_of(day),
        dataset=f"{model}-labelled",
        labelled_through=at(day),
    )
    turn = recorder.emit(drift)
    recorder.emit(
        AlertRaised(
            alert_id=f"alert-{model}-{day}",
            model=model,
            version=version,
            kind="performance_drift",
            severity="warning",
            title=f"v{version} predicts worse than it was trained to",
            detected_at=at(day, 6),
            evidence=drift.evidence,
        ),
        turn=turn,
        cause=turn,
    )
    return turn


def emit_suppressed(recorder: Recorder, turn: str, model: str = "flights") -> None:
    recorder.wait(0.1)
    recorder.emit(
        RetrainDecided(
            model=model,
            drift_event_id=turn,
            drift_epoch="x",
            outcome="suppressed",
            reason="last retraining was 11 event-days ago, the cooldown is 28",
            decided_at=recorder.now,
        ),
        turn=turn,
        cause=turn,
    )


def emit_run(recorder: Recorder, turn: str, cause: str, run: str) -> Iterator[str]:
    """The steps of a run; yields the step's last event id after each."""
    for step, seconds in STEPS.items():
        for state, took in (("running", None), ("succeeded", seconds)):
            cause = recorder.emit(
                StepChanged(
                    pipeline_run_id=run,
                    pipeline="flights",
                    step=step,
                    state="running" if state == "running" else "succeeded",
                    attempt=1,
                    worker="worker-0",
                    model="flights",
                    seconds=took,
                    changed_at=recorder.now,
                ),
                turn=turn,
                cause=cause,
            )
            recorder.wait(seconds if state == "running" else 0.05)
        yield cause


def emit_retraining(recorder: Recorder, turn: str, day: date, version: int) -> None:
    decided = emit_decision(recorder, turn, day)
    run = f"run-{day}"
    cause = emit_run_state(recorder, turn, decided, run, "running")
    for number, step in enumerate(emit_run(recorder, turn, cause, run)):
        cause = step
        if number == 4:
            cause = recorder.emit(
                ModelVersionCreated(
                    model="flights",
                    version=version,
                    source="mlflow-artifacts:/1/b",
                    run_id="c0ffee00d15ea5e",
                ),
                turn=turn,
                cause=step,
            )
    asked = recorder.emit(
        PromotionRequested(
            request_id=f"request-{version}",
            model="flights",
            version=version,
            requested_by="pipeline flights",
            digest=DIGEST,
            files=[],
            champion_version=version - 1,
        ),
        turn=turn,
        cause=cause,
    )
    emit_swap(recorder, "flights", version, turn, asked, evidence=gate_of(day, version))
    emit_run_state(recorder, turn, cause, run, "succeeded")
    recorder.emit(
        AlertResolved(
            alert_id=f"alert-flights-{day}",
            model="flights",
            reason=f"v{version} is deployed with a new baseline",
            resolved_at=at(day, 18),
        ),
        turn=turn,
    )


def emit_decision(recorder: Recorder, turn: str, day: date) -> str:
    recorder.wait(0.12)
    cause = recorder.emit(
        RetrainDecided(
            model="flights",
            drift_event_id=turn,
            drift_epoch=f"flights-{day}",
            outcome="awaiting_data",
            reason=f"labels through {day} are not in a dataset version yet",
            decided_at=recorder.now,
        ),
        turn=turn,
        cause=turn,
    )
    recorder.wait(0.4)
    return recorder.emit(
        RetrainDecided(
            model="flights",
            drift_event_id=turn,
            drift_epoch=f"flights-{day}",
            outcome="started",
            reason="performance drift, no retraining in the last 28 event-days",
            pipeline_run_id=f"run-{day}",
            decided_at=recorder.now,
        ),
        turn=turn,
        cause=cause,
    )


def emit_run_state(recorder: Recorder, turn: str, cause: str, run: str, state: str) -> str:
    recorder.wait(0.05)
    return recorder.emit(
        PipelineRunChanged.model_validate(
            {
                "pipeline_run_id": run,
                "pipeline": "flights",
                "state": state,
                "model": "flights",
                "changed_at": recorder.now,
            }
        ),
        turn=turn,
        cause=cause,
    )


def gate_of(day: date, version: int) -> GateEvidence:
    _ = day
    return GateEvidence(
        dataset="flights-labelled",
        dataset_version=30 + version,
        dataset_digest=DIGEST,
        rows=6231,
        champion_version=version - 1,
        metrics=[
            MetricPair(metric="auc", champion=0.662, challenger=0.701, higher_is_better=True),
            MetricPair(metric="log_loss", champion=0.531, challenger=0.509, higher_is_better=False),
        ],
        passed=True,
    )


def emit_swap(
    recorder: Recorder,
    model: str,
    version: int,
    turn: str,
    cause: str,
    *,
    evidence: GateEvidence | None,
) -> None:
    recorder.wait(0.09)
    decided = recorder.emit(
        PromotionDecided(
            request_id=f"request-{version}",
            model=model,
            version=version,
            outcome="approved",
            automatic=evidence is not None,
            approver=None if evidence else "ada",
            evidence=evidence,
        ),
        turn=turn,
        cause=cause,
    )
    promoted = recorder.emit(
        ModelPromoted(
            model=model,
            version=version,
            previous_version=version - 1 or None,
            cause="promotion",
            digest=DIGEST,
            files=[],
            promoted_at=recorder.now,
        ),
        turn=turn,
        cause=decided,
    )
    recorder.emit_state(
        ModelAliasState(
            model=model,
            alias="champion",
            version=version,
            previous_version=version - 1 or None,
            rollback_version=version - 1 or None,
            cause="promotion",
            digest=DIGEST,
            moved_at=recorder.now,
            promoted_event=promoted,
        ),
        turn=turn,
        cause=promoted,
    )
    recorder.wait(0.31)
    deployed = recorder.emit(
        ModelDeployed(
            model=model,
            version=version,
            digest=DIGEST,
            deployed_at=recorder.now,
            load_ms=143.2,
            swap_ms=0.42,
        ),
        turn=turn,
        cause=promoted,
    )
    recorder.emit_state(
        DeploymentState(
            model=model,
            version=version,
            digest=DIGEST,
            deployed_at=recorder.now,
            deployed_event=deployed,
            promoted_event=promoted,
        ),
        turn=turn,
        cause=deployed,
    )
    recorder.wait(0.12)
    recorder.emit(
        FirstAnswerServed(
            model=model, version=version, prediction_id=f"r-{version}/0", served_at=recorder.now
        ),
        turn=turn,
        cause=deployed,
    )
