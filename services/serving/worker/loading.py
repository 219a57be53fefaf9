"""From an assignment to a table: loads what is missing, keeps what is there, drops the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from services.serving.domain.limits import DEFAULT_LIMITS, Limits
from services.serving.domain.reasons import reason_of
from services.serving.link.messages import Assignment, ModelAssignment, VersionFiles
from services.serving.worker.model import Model, load
from services.serving.worker.residency import Residency
from services.serving.worker.routing.router import Routes
from services.serving.worker.table import Entry, Reign, Table

_RESIDENT: Final = "resident"
"""The alias of versions that are kept in memory."""
Loaded = Mapping[tuple[str, int, str], Model]
"""Models in memory by name, version and digest of their files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an assignment; `failures` are reasons by model and version."""

    table: Table
    loaded: Loaded
    failures: Mapping[tuple[str, int], str] = field(default_factory=dict)


def make_so(
    assignment: Assignment,
    *,
    loaded: Loaded,
    table: Table,
    limits: Limits = DEFAULT_LIMITS,
    residency: Residency | None = None,
) -> Outcome:
    """The table that an assignment asks for. Blocks while files are read and models warmed.

    A champion that cannot be loaded leaves the one before it in place. With a residency that has
    a budget, models that are compared live, or have the alias `resident`, are kept in memory;
    others may be out of it when this is done.
    """
    models: dict[tuple[str, int, str], Model] = {}
    failures: dict[tuple[str, int], str] = {}
    for assigned in assignment.models:
        for files in assigned.versions:
            key = (assigned.name, files.version, files.digest)
            try:
                models[key] = loaded.get(key) or _load(assigned.name, files, limits, residency)
            except Exception as error:
                # A version that does not load must not end a worker whose others answer.
                failures[assigned.name, files.version] = reason_of(error)
    entries = {
        assigned.name: replace(
            _entry(assigned, models, table.entries.get(assigned.name)),
            unavailable=_unavailable(assigned, failures),
            unloaded=assigned.unloaded,
        )
        for assigned in assignment.models
    }
    if residency is not None:
        fixed = [model for entry in entries.values() for model in _fixed(entry)]
        residency.fix({model.seat for model in fixed if model.seat is not None})
    return Outcome(table=Table(entries=entries), loaded=models, failures=failures)


def _load(name: str, files: VersionFiles, limits: Limits, residency: Residency | None) -> Model:
    return load(
        Path(files.path),
        name=name,
        version=files.version,
        kind=files.format,
        limits=limits,
        residency=residency,
        memory=files.memory,
    )


def _fixed(entry: Entry) -> list[Model]:
    """Models that must be in memory."""
    resident = entry.aliases.get(_RESIDENT)
    named = entry.versions.get(resident or 0)
    return [
        *entry.arms.values(),
        *(model for model, _ in entry.shadows),
        *([named] if named else []),
    ]


def _entry(assigned: ModelAssignment, models: Loaded, before: Entry | None) -> Entry:
    by_version = {
        files.version: models[key]
        for files in assigned.versions
        if (key := (assigned.name, files.version, files.digest)) in models
    }
    champion = by_version.get(assigned.champion or 0)
    if champion is None:
        return before if before and assigned.champion is not None else Entry(champion=None)
    reign = before.champion if before else None
    if reign is None or reign.deployment != assigned.deployment or reign.model is not champion:
        reign = Reign(model=champion, deployment=assigned.deployment or 0)
    answering = {assigned.champion, assigned.pinned}
    versions = {number: model for number, model in by_version.items() if number in answering}
    return Entry(
        champion=reign,
        versions=versions,
        routes=_routes(assigned, before),
        arms=_arms(assigned, by_version),
        shadows=_shadows(assigned, by_version),
        aliases=assigned.aliases,
    )


def _routes(assigned: ModelAssignment, before: Entry | None) -> Routes | None:
    """The table's routes; those that are here keep what they counted."""
    wanted, champion = assigned.traffic, assigned.champion
    if wanted is None or champion is None:
        return None
    routes = before.routes if before else None
    if routes is not None and (routes.assigned, routes.champion) == (wanted, champion):
        return routes
    return Routes(wanted, champion)


def _shadows(assigned: ModelAssignment, by_version: Mapping[int, Model]) -> list[tuple[Model, int]]:
    wanted = assigned.traffic.shadows if assigned.traffic else []
    return [
        (by_version[each.version], each.weight) for each in wanted if each.version in by_version
    ]


def _arms(assigned: ModelAssignment, by_version: Mapping[int, Model]) -> dict[int, Model]:
    if assigned.traffic is None:
        return {}
    wanted = {assigned.champion, *(arm.version for arm in assigned.traffic.arms)}
    return {version: model for version, model in by_version.items() if version in wanted}


def _unavailable(
    assigned: ModelAssignment, failures: Mapping[tuple[str, int], str]
) -> Mapping[int, str]:
    """Why versions do not answer, though they are here or should be."""
    answering = {assigned.champion, assigned.pinned}
    if assigned.traffic is not None:
        answering.update(arm.version for arm in assigned.traffic.arms)
    return {
        files.version: failures.get((assigned.name, files.version), "loaded, and not promoted")
        for files in assigned.versions
        if files.version not in answering or (assigned.name, files.version) in failures
    }
