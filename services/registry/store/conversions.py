"""Conversions of versions to ONNX."""

from __future__ import annotations

from headrace.events import FileRef
from headrace.runtime.db import Connection
from services.registry.domain.records import Conversion, Version


async def attach(connection: Connection, *, version: Version, conversion: Conversion) -> bool:
    """Keep what became of it; False if that is known already."""
    inserted: str = await connection.execute(
        "insert into version_conversion (version_id, project, outcome, reason, files,"
        " max_difference, recorded_rows, sampled_rows, event_id, finished_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing",
        version.id,
        version.project,
        conversion.outcome,
        conversion.reason,
        [file.model_dump() for file in conversion.files],
        conversion.max_difference,
        conversion.recorded_rows,
        conversion.sampled_rows,
        conversion.event_id,
        conversion.finished_at,
    )
    return inserted == "INSERT 0 1"


async def find(connection: Connection, *, version_id: str) -> Conversion | None:
    """What became of it, if that is known."""
    row = await connection.fetchrow(
        "select outcome, reason, files, max_difference, recorded_rows, sampled_rows, event_id,"
        " finished_at from version_conversion where version_id = $1",
        version_id,
    )
    if row is None:
        return None
    files = tuple(FileRef.model_validate(file) for file in row["files"])
    return Conversion(**{**row, "files": files})


async def files(connection: Connection, *, version_id: str) -> list[FileRef]:
    """The converted files of a version; none where there is no conversion."""
    found = await find(connection, version_id=version_id)
    return [] if found is None else list(found.files)
