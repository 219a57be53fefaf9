"""Versions in the registry that were made from logged models."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.runtime.db import Connection
from services.tracking.domain.entities import Registration
from services.tracking.domain.registrations import MODEL_VERSIONS_TAG, with_version


async def add_registration(
    connection: Connection, *, project: str, model_id: str, registration: Registration
) -> None:
    """Note a version with its logged model, also in a tag; nothing if there is no such model."""
    found = await connection.fetchval(
        "select model_id from logged_model where project = $1 and model_id = $2 for no key update",
        project,
        model_id,
    )
    if found is None:
        return
    await connection.execute(
        "insert into logged_model_registration (model_id, name, version) values ($1, $2, $3)"
        " on conflict do nothing",
        model_id,
        registration.name,
        registration.version,
    )
    before = await connection.fetchval(
        "select value from logged_model_tag where model_id = $1 and key = $2",
        model_id,
        MODEL_VERSIONS_TAG,
    )
    tag = with_version(before, name=registration.name, version=registration.version)
    if tag is not None:
        await _set_tag(connection, model_id=model_id, value=tag)


async def registrations_of(
    connection: Connection, model_ids: Sequence[str]
) -> dict[str, list[Registration]]:
    """The versions of each model, by name and number."""
    found: dict[str, list[Registration]] = {model_id: [] for model_id in model_ids}
    for row in await connection.fetch(
        "select * from logged_model_registration where model_id = any($1) order by name, version",
        list(model_ids),
    ):
        registration = Registration(name=row["name"], version=row["version"])
        found[row["model_id"]].append(registration)
    return found


async def _set_tag(connection: Connection, *, model_id: str, value: str) -> None:
    await connection.execute(
        "insert into logged_model_tag (model_id, key, value) values ($1, $2, $3)"
        " on conflict (model_id, key) do update set value = excluded.value",
        model_id,
        MODEL_VERSIONS_TAG,
        value,
    )
