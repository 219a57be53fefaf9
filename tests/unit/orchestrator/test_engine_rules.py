"""What follows from the end of an attempt."""

from __future__ import annotations

import pytest

from headrace.pipelines.plan import RetryPlan, Source, StepPlan
from services.orchestrator.domain import engine as rules
from services.orchestrator.domain.engine import (
    MAX_LOSSES,
    Again,
    GivenUp,
    History,
    Outcome,
    after_attempt,
)

RETRY = RetryPlan(attempts=3, backoff=1.0, factor=2.0, limit=3.0)
FRESH = History(failures=0, losses=0)


def test_a_failure_runs_again_after_a_growing_wait() -> None:
    first = after_attempt(RETRY, FRESH, Outcome.FAILED, error="x", retryable=True)
    assert first == Again(delay=1.0, history=History(failures=1, losses=0))
    second = after_attempt(RETRY, first.history, Outcome.FAILED, error="x", retryable=True)
    assert second == Again(delay=2.0, history=History(failures=2, losses=0))
    third = after_attempt(RETRY, second.history, Outcome.FAILED, error="x", retryable=True)
    assert third == GivenUp(history=History(failures=3, losses=0), reason="x")


def test_the_wait_is_bounded() -> None:
    assert rules.delay_before(RETRY, 10) == 3.0


def test_a_permanent_failure_does_not_run_again() -> None:
    verdict = after_attempt(RETRY, FRESH, Outcome.FAILED, error="no", retryable=False)
    assert isinstance(verdict, GivenUp)


def test_a_lost_attempt_does_not_spend_a_retry() -> None:
    verdict = after_attempt(RETRY, FRESH, Outcome.LOST, error="", retryable=True)
    assert verdict == Again(delay=0.0, history=History(failures=0, losses=1))


def test_a_step_that_keeps_being_lost_is_given_up() -> None:
    often = History(failures=0, losses=MAX_LOSSES - 1)
    verdict = after_attempt(RETRY, often, Outcome.LOST, error="", retryable=True)
    assert isinstance(verdict, GivenUp)
    assert verdict.reason == f"lost {MAX_LOSSES} times with its worker"


def test_a_released_attempt_counts_not_at_all() -> None:
    verdict = after_attempt(RETRY, FRESH, Outcome.RELEASED, error="", retryable=True)
    assert verdict == Again(delay=0.0, history=FRESH)


def test_a_time_out_spends_a_retry() -> None:
    verdict = after_attempt(RETRY, FRESH, Outcome.TIMED_OUT, error="t", retryable=True)
    assert verdict.history.failures == 1


def test_nothing_follows_from_success() -> None:
    with pytest.raises(ValueError, match="nothing follows"):
        after_attempt(RETRY, FRESH, Outcome.SUCCEEDED, error="", retryable=True)


def test_inputs_come_from_parameters_steps_and_constants() -> None:
    step = StepPlan(
        name="s",
        function="s",
        inputs={
            "a": Source(parameter="p"),
            "b": Source(step="up", output="rows"),
            "c": Source(constant=None),
        },
        outputs={"result": "int"},
    )
    rows = {"kind": "arrow", "uri": "s3://b/k", "digest": "sha256:0", "size": 1}
    assert rules.inputs_of(step, {"p": 1}, {"up": {"rows": rows}}) == {
        "a": {"kind": "json", "value": 1},
        "b": rows,
        "c": {"kind": "json", "value": None},
    }
    assert rules.missing_outputs(step, []) == ["result"]


def test_the_seed_of_a_run_follows_from_its_id() -> None:
    assert rules.seed_of("a") == rules.seed_of("a")
    assert rules.seed_of("a") != rules.seed_of("b")
    assert 0 <= rules.seed_of("a") < 2**32
