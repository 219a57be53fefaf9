from __future__ import annotations

import random
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from headrace.events import (
    DeploymentFailed,
    ModelPromoted,
    ModelVersionCreated,
    PipelineRunRequested,
    PromotionDecided,
    PromotionRequested,
    RetrainDecided,
)
from services.console import stories
from services.console.domain.alerts import alert_views
from services.console.domain.facts import Fact, ReadModel
from services.console.domain.turns import Turn, turns, waiting_promotions
from tests.harness.recorded import (
    DIGEST,
    Recorder,
    emit_decision,
    emit_drift,
    emit_retraining,
    emit_run,
    emit_run_state,
    emit_suppressed,
    gate_of,
)

DAY = date(2013, 3, 9)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(now=datetime(2026, 3, 2, 9, tzinfo=UTC), random=random.Random(1))


def read(recorder: Recorder) -> ReadModel:
    model = ReadModel()
    for event in recorder.events:
        model.fold(Fact.of(event.envelope, event.data))
    return model


def only_turn(recorder: Recorder) -> Turn:
    (turn,) = turns(read(recorder).facts(), "flights")
    return turn


def states(turn: Turn) -> str:
    return " ".join(stage.state for stage in turn.stages)


def test_a_whole_turn_is_told_from_the_alert_to_the_first_answer(recorder: Recorder) -> None:
    emit_retraining(recorder, emit_drift(recorder, DAY, 1), DAY, 2)

    turn = only_turn(recorder)

    assert states(turn) == "done " * 6 + "done"
    assert (turn.kind, turn.outcome, turn.version) == ("drift", "answering", 2)
    assert stories.headline(turn).startswith("v2 answered 14.1 s after its alert")


def test_phases_partition_the_time_of_a_turn(recorder: Recorder) -> None:
    emit_retraining(recorder, emit_drift(recorder, DAY, 1), DAY, 2)

    turn = only_turn(recorder)

    assert [phase.name for phase in turn.phases()] == [
        "Decide",
        "Start",
        "Train",
        "Gate",
        "Deploy",
        "Answer",
    ]
    assert sum(phase.seconds for phase in turn.phases()) == pytest.approx(turn.seconds)


def test_each_event_moves_the_loop_on_and_never_back(recorder: Recorder) -> None:
    emit_retraining(recorder, emit_drift(recorder, DAY, 1), DAY, 2)
    facts = [Fact.of(event.envelope, event.data) for event in recorder.events]
    weight = {"todo": 0, "active": 1, "done": 2}

    told = [turns(facts[:count], "flights")[0] for count in range(1, len(facts) + 1)]

    for before, after in pairwise(told):
        for earlier, later in zip(before.stages, after.stages, strict=True):
            assert weight[earlier.state] <= weight[later.state]
    assert states(told[0]) == "done active todo todo todo todo todo"


def test_a_decision_that_waits_for_data_keeps_the_turn_open(recorder: Recorder) -> None:
    turn_id = emit_drift(recorder, DAY, 1)
    emit_decision(recorder, turn_id, DAY)
    recorder.events.pop()

    turn = only_turn(recorder)

    assert states(turn).startswith("done active todo")
    assert turn.ended is None


def test_a_running_step_is_named(recorder: Recorder) -> None:
    turn_id = emit_drift(recorder, DAY, 1)
    decided = emit_decision(recorder, turn_id, DAY)
    cause = emit_run_state(recorder, turn_id, decided, "run-1", "running")
    steps = emit_run(recorder, turn_id, cause, "run-1")
    next(steps)
    next(steps)
    recorder.events.pop()

    turn = only_turn(recorder)

    assert stories.headline(turn) == "Retraining: train"
    assert stories.stage_text(turn.stage("run"), turn) == "1 of 2 steps"


def test_suppressed_drift_is_no_turn_but_an_alert_with_its_reason(recorder: Recorder) -> None:
    emit_suppressed(recorder, emit_drift(recorder, DAY, 1))
    model = read(recorder)

    (alert,) = alert_views(
        model.alerts("flights"),
        model.facts("RetrainDecided"),
        model.facts("DriftDetected"),
        model="flights",
    )

    assert turns(model.facts(), "flights") == ()
    assert alert.consequence == "suppressed"
    assert "cooldown is 28" in alert.reason
    assert alert.turn is None


def test_an_alert_links_to_the_turn_it_started(recorder: Recorder) -> None:
    turn_id = emit_drift(recorder, DAY, 1)
    emit_retraining(recorder, turn_id, DAY, 2)
    model = read(recorder)

    (alert,) = alert_views(
        model.alerts("flights"),
        model.facts("RetrainDecided"),
        model.facts("DriftDetected"),
        model="flights",
    )

    assert (alert.consequence, alert.turn) == ("started", turn_id)
    assert alert.resolution == "v2 is deployed with a new baseline"


def test_a_failed_pipeline_run_ends_the_turn_and_says_why(recorder: Recorder) -> None:
    turn_id = emit_drift(recorder, DAY, 1)
    decided = emit_decision(recorder, turn_id, DAY)
    emit_run_state(recorder, turn_id, decided, "run-1", "running")
    emit_run_state(recorder, turn_id, decided, "run-1", "failed")

    turn = only_turn(recorder)

    assert states(turn) == "done done failed skipped skipped skipped skipped"
    assert turn.outcome == "failed"
    assert turn.ended is not None


def ask_for_promotion(recorder: Recorder, outcome: str) -> str:
    recorder.emit(ModelVersionCreated(model="flights", version=2, source="m"))
    recorder.wait(1)
    asked = recorder.emit(
        PromotionRequested(
            request_id="r",
            model="flights",
            version=2,
            requested_by="ada",
            digest=DIGEST,
            files=[],
        )
    )
    recorder.emit(
        PromotionDecided.model_validate(
            {
                "request_id": "r",
                "model": "flights",
                "version": 2,
                "outcome": outcome,
                "automatic": outcome != "waiting",
                "evidence": gate_of(DAY, 2),
            }
        ),
        turn=asked,
        cause=asked,
    )
    return asked


def test_a_waiting_promotion_is_offered_for_a_decision(recorder: Recorder) -> None:
    ask_for_promotion(recorder, "waiting")

    turn = only_turn(recorder)
    ((_, fact),) = waiting_promotions([turn])

    assert turn.outcome == "waiting"
    assert isinstance(fact.data, PromotionDecided)
    assert fact.data.request_id == "r"


def test_a_promotion_by_hand_shows_the_version_registered_before(recorder: Recorder) -> None:
    ask_for_promotion(recorder, "waiting")

    turn = only_turn(recorder)

    assert states(turn) == "skipped skipped skipped done active todo todo"
    assert stories.origin(turn) == "promotion asked by ada"


def test_a_rejected_promotion_ends_the_turn(recorder: Recorder) -> None:
    ask_for_promotion(recorder, "rejected")

    turn = only_turn(recorder)

    assert turn.outcome == "rejected"
    assert turn.ended is not None
    assert waiting_promotions([turn]) == ()


def test_a_failed_deployment_says_which_version_goes_on_answering(recorder: Recorder) -> None:
    asked = ask_for_promotion(recorder, "approved")
    recorder.emit(
        DeploymentFailed(
            model="flights",
            version=2,
            kept_version=1,
            reason="digest of model.onnx differs",
            failed_at=recorder.now,
        ),
        turn=asked,
    )

    turn = only_turn(recorder)

    assert turn.outcome == "failed"
    assert "v1 goes on answering" in stories.stage_text(turn.stage("deployment"), turn)


def test_a_rollback_is_a_turn_of_its_own(recorder: Recorder) -> None:
    recorder.emit(
        ModelPromoted(
            model="flights",
            version=1,
            previous_version=2,
            cause="rollback",
            digest=DIGEST,
            files=[],
            promoted_at=recorder.now,
        )
    )

    turn = only_turn(recorder)

    assert turn.kind == "rollback"
    assert states(turn) == "skipped skipped skipped skipped skipped active todo"


def test_a_run_that_asks_for_no_promotion_just_finishes(recorder: Recorder) -> None:
    asked = recorder.emit(
        PipelineRunRequested(
            pipeline_run_id="run-1", pipeline="flights", requested_by="ada", model="flights"
        )
    )
    emit_run_state(recorder, asked, asked, "run-1", "running")
    emit_run_state(recorder, asked, asked, "run-1", "succeeded")

    turn = only_turn(recorder)

    assert turn.outcome == "finished"
    assert turn.ended is not None


def test_two_models_turn_without_touching_each_other(recorder: Recorder) -> None:
    emit_retraining(recorder, emit_drift(recorder, DAY, 1), DAY, 2)
    other = emit_drift(recorder, DAY, 1, model="trains")
    recorder.emit(
        RetrainDecided(
            model="trains",
            drift_event_id=other,
            drift_epoch="e",
            outcome="started",
            reason="drift",
            decided_at=recorder.now,
        ),
        turn=other,
        cause=other,
    )
    facts = list(read(recorder).facts())

    assert [turn.outcome for turn in turns(facts, "flights")] == ["answering"]
    assert [turn.id for turn in turns(facts, "trains")] == [other]


@pytest.mark.parametrize(
    ("signed", "shown"),
    [
        ("pipeline/flights/01a20967-4e38", "pipeline flights"),
        ("ada", "ada"),
        ("pipeline", "pipeline"),
        ("team/ops", "team/ops"),
    ],
)
def test_a_pipeline_run_signs_with_its_name(signed: str, shown: str) -> None:
    assert stories.person(signed) == shown


def test_an_alarm_while_an_alert_stands_is_told_with_what_became_of_it(recorder: Recorder) -> None:
    emit_drift(recorder, DAY, 1)
    repeated = emit_drift(recorder, date(2013, 3, 20), 1)
    recorder.events.pop()
    emit_suppressed(recorder, repeated)
    emit_drift(recorder, DAY, 1, model="trains")
    model = read(recorder)

    first, second = alert_views(
        model.alerts("flights"),
        model.facts("RetrainDecided"),
        model.facts("DriftDetected"),
        model="flights",
    )

    assert (first.status, first.consequence) == ("open", "undecided")
    assert (second.status, second.consequence) == ("repeated", "suppressed")
    assert second.evidence is not None


def test_steps_to_come_are_known_from_an_earlier_run(recorder: Recorder) -> None:
    emit_retraining(recorder, emit_drift(recorder, DAY, 1), DAY, 2)
    recorder.wait(60)
    turn_id = emit_drift(recorder, date(2013, 5, 1), 2)
    decided = emit_decision(recorder, turn_id, date(2013, 5, 1))
    cause = emit_run_state(recorder, turn_id, decided, "run-2", "running")
    next(emit_run(recorder, turn_id, cause, "run-2"))

    newest, _ = turns(read(recorder).facts(), "flights")

    assert newest.run is not None
    assert newest.run.planned == ("train", "evaluate", "convert", "register", "promote")
    assert stories.stage_text(newest.stage("run"), newest) == "1 of 6 steps"
