"""Registering a version: number, manifest, lineage and event in one transaction."""

from __future__ import annotations

from datetime import datetime

from headrace.events import FileRef
from headrace.ids import new_id
from headrace.runtime.bus import Tx
from services.registry.api import alias_states
from services.registry.api.aliases import delete_alias
from services.registry.api.announcing import announce
from services.registry.api.champions import champion_stays, close_waiting, correlation_of
from services.registry.domain import announcements
from services.registry.domain.lineage import (
    DRIFT_EVENT_TAG,
    Edge,
    Kind,
    Node,
    NodeId,
    Relation,
    causes_in,
)
from services.registry.domain.names import CHAMPION
from services.registry.domain.records import NewVersion, Version
from services.registry.store import lineage, models, versions


async def create_version(tx: Tx, *, project: str, new: NewVersion, now: datetime) -> Version:
    """The next version of a model; the same idempotency key again gives the same version.

    Raises NotFound for an unknown model.
    """
    model = await models.lock(tx.connection, project=project, name=new.model)
    earlier = await versions.find_idempotent(tx.connection, model=model, key=new.idempotency_key)
    if earlier is not None:
        return earlier
    version = await versions.create(
        tx.connection,
        model=model,
        new=new,
        event_id=new_id(),
        correlation_id=correlation_of(tx),
        now=now,
    )
    await models.touch(tx.connection, model=model, now=now, last_version=version.version)
    await _record_lineage(tx, version, new.content.files)
    tx.emit(version.created(new.content.files), event_id=version.event_id)
    await announce(tx, announcements.version_created(version), project=project, now=now)
    return version


async def delete_version(tx: Tx, *, version: Version, actor: str, now: datetime) -> None:
    """Hide a version of a locked model, with its free aliases; raises Refused for a champion."""
    if CHAMPION in version.aliases:
        raise champion_stays(version.model, f"version {version.version} cannot be deleted")
    model = await models.get(tx.connection, project=version.project, name=version.model)
    await close_waiting(
        tx, model=model, version=version.version, reason="the version was deleted", now=now
    )
    for alias in version.aliases:
        await delete_alias(
            tx, project=version.project, name=version.model, alias=alias, actor=actor, now=now
        )
    await versions.delete(tx.connection, version=version, now=now)
    if CHAMPION in model.aliases:
        await alias_states.tell(tx, model=model, alias=CHAMPION)
    await models.touch(tx.connection, model=model, now=now)


async def _record_lineage(tx: Tx, version: Version, files: tuple[FileRef, ...]) -> None:
    node = NodeId(kind=Kind.MODEL_VERSION, id=version.id)
    causes = causes_in(version.tags)
    if version.run_id:
        causes.append((Relation.LOGGED_BY, NodeId(kind=Kind.RUN, id=version.run_id)))
    await lineage.put_node(
        tx.connection,
        project=version.project,
        node=Node(
            node=node,
            detail={"model": version.model, "version": version.version, "files": len(files)},
            event_id=version.event_id,
            correlation_id=version.correlation_id,
            at=version.created_at,
        ),
    )
    await lineage.add_edges(
        tx.connection,
        project=version.project,
        edges=[
            Edge(
                source=node,
                relation=relation,
                target=target,
                event_id=version.event_id,
                correlation_id=version.correlation_id,
                at=version.created_at,
            )
            for relation, target in causes
        ],
    )
    await _record_drift(tx, version, causes)


async def _record_drift(tx: Tx, version: Version, causes: list[tuple[Relation, NodeId]]) -> None:
    for _, target in causes:
        if target.kind is not Kind.DRIFT or not version.tags.get(DRIFT_EVENT_TAG):
            continue
        drift = Node(
            node=target,
            event_id=version.tags[DRIFT_EVENT_TAG],
            correlation_id=version.correlation_id,
        )
        await lineage.put_node(tx.connection, project=version.project, node=drift)
