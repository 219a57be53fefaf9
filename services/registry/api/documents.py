"""Answers of the governance routes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from headrace.events import FileRef, Segment
from services.registry.domain.datasets import DatasetVersion
from services.registry.domain.gate import Policy
from services.registry.domain.names import CHAMPION
from services.registry.domain.promotions import AliasMove, Request, outcome_of, policy_document
from services.registry.domain.records import Conversion, Model, Version


def model_document(model: Model, policy: Policy | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "description": model.description or "",
        "champion": model.aliases.get(CHAMPION),
        "aliases": dict(model.aliases),
        "latest_version": model.last_version or None,
        "tags": dict(model.tags),
        "policy": policy_answer(policy),
        "created_at": _time(model.created_at),
        "updated_at": _time(model.updated_at),
    }


def policy_answer(policy: Policy | None) -> dict[str, Any]:
    """The policy in force; `set` is false where only the default is."""
    given = policy or Policy()
    document = policy_document(
        auto_promote=given.auto_promote, margins=given.margins, min_rows=given.min_rows
    )
    return {**document, "set": policy is not None}


def version_document(version: Version, files: Sequence[FileRef] | None) -> dict[str, Any]:
    document = {
        "model": version.model,
        "version": version.version,
        "content": "verified" if version.verified else "unverified",
        "digest": version.digest,
        "source": version.source,
        "location": version.location,
        "run_id": version.run_id or None,
        "logged_model_id": version.logged_model_id or None,
        "stage": version.stage,
        "description": version.description or "",
        "tags": dict(version.tags),
        "aliases": list(version.aliases),
        "event_id": version.event_id,
        "correlation_id": version.correlation_id,
        "created_at": _time(version.created_at),
        "updated_at": _time(version.updated_at),
    }
    if files is not None:
        document["files"] = [file.model_dump(mode="json") for file in files]
    return document


def conversion_document(conversion: Conversion | None) -> dict[str, Any] | None:
    """None while nothing is known of a conversion."""
    if conversion is None:
        return None
    return {
        "outcome": conversion.outcome,
        "reason": conversion.reason,
        "files": [file.model_dump(mode="json") for file in conversion.files],
        "max_difference": conversion.max_difference,
        "recorded_rows": conversion.recorded_rows,
        "sampled_rows": conversion.sampled_rows,
        "event_id": conversion.event_id,
        "finished_at": _time(conversion.finished_at),
    }


def move_document(step: AliasMove) -> dict[str, Any]:
    return {
        "alias": step.alias,
        "version": step.version,
        "previous_version": step.previous_version,
        "cause": step.cause,
        "actor": step.actor,
        "request_id": step.request_id,
        "event_id": step.event_id,
        "correlation_id": step.correlation_id,
        "moved_at": _time(step.moved_at),
    }


def request_document(request: Request) -> dict[str, Any]:
    return {
        "request_id": request.id,
        "model": request.model,
        "version": request.version,
        "alias": request.alias,
        "state": request.state.value,
        "outcome": outcome_of(request.state),
        "automatic": request.automatic,
        "requested_by": request.requested_by,
        "comment": request.comment,
        "reason": request.reason,
        "digest": request.digest,
        "champion_version": request.expected_champion,
        "evidence": request.evidence.model_dump(mode="json") if request.evidence else None,
        "approver": request.decided_by,
        "requested_at": _time(request.requested_at),
        "decided_at": _time(request.decided_at),
        "requested_event_id": request.requested_event_id,
        "decided_event_id": request.decided_event_id,
        "promoted_event_id": request.promoted_event_id,
        "correlation_id": request.correlation_id,
    }


def dataset_document(
    version: DatasetVersion, segments: Sequence[Segment] | None = None
) -> dict[str, Any]:
    document = {
        "dataset": version.dataset,
        "version": version.version,
        "digest": version.digest,
        "parent_version": version.parent_version,
        "rows": version.rows,
        "segment_count": version.segments,
        "origin": version.origin,
        "model": version.model,
        "labelled_through": _time(version.labelled_through),
        "event_id": version.event_id,
        "correlation_id": version.correlation_id,
        "created_at": _time(version.created_at),
    }
    if segments is not None:
        document["segments"] = [segment.model_dump(mode="json") for segment in segments]
    return document


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
