"""Rules of the durable engine: what follows from the end of an attempt, what a step is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, assert_never

from headrace.pipelines import Plan
from headrace.pipelines.plan import RetryPlan, StepPlan

MAX_LOSSES: Final = 5
"""Attempts of one step that may be lost with their worker before the step is given up."""


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    RELEASED = "released"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Attempts of a step so far that did not succeed."""

    failures: int
    losses: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """The step becomes ready again after `delay` seconds."""

    delay: float
    history: History


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenUp:
    """The step, and with it the run, has failed."""

    history: History
    reason: str


def after_attempt(
    retry: RetryPlan, history: History, outcome: Outcome, *, error: str, retryable: bool
) -> Again | GivenUp:
    """What follows from an attempt that did not succeed.

    Failures and time-outs spend the step's retries; a lost attempt says nothing against the
    step, so it runs again at once, a bounded number of times; a released one counts not at all.
    """
    match outcome:
        case Outcome.RELEASED:
            return Again(delay=0.0, history=history)
        case Outcome.LOST:
            lost = History(failures=history.failures, losses=history.losses + 1)
            if lost.losses >= MAX_LOSSES:
                return GivenUp(history=lost, reason=f"lost {lost.losses} times with its worker")
            return Again(delay=0.0, history=lost)
        case Outcome.FAILED | Outcome.TIMED_OUT:
            failed = History(failures=history.failures + 1, losses=history.losses)
            if not retryable or failed.failures >= retry.attempts:
                return GivenUp(history=failed, reason=error)
            return Again(delay=delay_before(retry, failed.failures + 1), history=failed)
        case Outcome.SUCCEEDED | Outcome.CANCELLED:
            raise ValueError(f"nothing follows from an attempt that {outcome}")
        case never:
            assert_never(never)


def delay_before(retry: RetryPlan, attempt: int) -> float:
    """Seconds to wait before attempt 2, 3, ..."""
    return min(retry.limit, retry.backoff * retry.factor ** (attempt - 2))


def seed_of(run_id: str) -> int:
    """The seed of a run that was given none, in 0..2**32-1."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:4], "big")


def inputs_of(
    step: StepPlan, parameters: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Encoded inputs of a step; `outputs` are those of its upstream steps by step and name."""
    inputs: dict[str, dict[str, Any]] = {}
    for name, source in step.inputs.items():
        if source.parameter is not None:
            inputs[name] = {"kind": "json", "value": parameters[source.parameter]}
        elif source.step is not None and source.output is not None:
            inputs[name] = dict(outputs[source.step][source.output])
        else:
            inputs[name] = {"kind": "json", "value": source.constant}
    return inputs


def missing_outputs(step: StepPlan, outputs: Iterable[str]) -> list[str]:
    """Declared outputs that a completion lacks."""
    return sorted(set(step.outputs) - set(outputs))


def first_states(plan: Plan) -> list[tuple[str, int, int]]:
    """`(step, position, number of upstream steps)` of every step of a new run."""
    return [(step.name, place, len(step.upstream)) for place, step in enumerate(plan.steps)]


def added(known: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """`known` and what of `new` is not in it yet."""
    result = list(known)
    for entry in new:
        if entry not in result:
            result.append(entry)
    return result
