"""What serving tells of a deployment, in the transaction that settles it."""

from __future__ import annotations

from datetime import datetime

from headrace.events import (
    DeploymentFailed,
    DeploymentState,
    FirstAnswerServed,
    ModelDeployed,
)
from headrace.runtime.bus import Tx
from services.serving.domain import CHAMPION, Champion, Deployment, State
from services.serving.domain.conversions import answers_converted


def emit_deployed(tx: Tx, done: Deployment) -> str:
    """Every worker answers with it; returns the event id."""
    return tx.emit(
        ModelDeployed(
            project=done.order.project,
            model=done.model,
            version=done.version,
            alias=CHAMPION,
            previous_version=done.previous_version,
            digest=done.order.digest,
            files=list(done.order.files),
            converted=answers_converted(done),
            reason=done.native_because or "",
            deployed_at=done.finished_at or done.requested_at,
            load_ms=done.load_ms or 0.0,
            swap_ms=done.swap_ms or 0.0,
        )
    )


def emit_failed(
    tx: Tx, failed: Deployment, kept: Champion | None, *, reason: str, at: datetime
) -> None:
    """It was given up, and `kept` goes on answering."""
    tx.emit(
        DeploymentFailed(
            project=failed.order.project,
            model=failed.model,
            version=failed.version,
            alias=CHAMPION,
            kept_version=kept.deployment.version if kept else None,
            reason=reason,
            failed_at=at,
        )
    )
    if failed.order.kind == "deploy":
        _emit_kept_state(tx, failed, kept)


def emit_state(tx: Tx, done: Deployment) -> None:
    """It is what answers now."""
    tx.emit(
        DeploymentState(
            project=done.order.project,
            model=done.model,
            version=done.version,
            alias=CHAMPION,
            previous_version=done.previous_version,
            digest=done.order.digest,
            files=list(done.order.files),
            deployed_at=done.finished_at or done.requested_at,
            deployed_event=done.deployed_event or "",
            promoted_event=done.order.promoted_event or done.order.cause_event,
        ),
        correlation_id=done.order.correlation_id,
        causation_id=done.deployed_event,
    )


def _emit_kept_state(tx: Tx, failed: Deployment, kept: Champion | None) -> None:
    """What answers after a failure; a champion that is still flipping tells of itself."""
    if kept is None:
        tx.tombstone(DeploymentState, failed.order.project, failed.model, CHAMPION)
    elif kept.deployment.state is State.DONE:
        emit_state(tx, kept.deployment)


def emit_first_answer(tx: Tx, done: Deployment, *, cause: str | None) -> None:
    """A client has its first answer."""
    tx.emit(
        FirstAnswerServed(
            project=done.order.project,
            model=done.model,
            version=done.version,
            prediction_id=done.first_prediction_id or "",
            served_at=done.first_answer_at or done.requested_at,
        ),
        correlation_id=done.order.correlation_id,
        causation_id=cause,
    )
