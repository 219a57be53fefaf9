"""Params and tags of many writes at once: write-once the ones, the latest the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import asyncpg

from headrace.errors import InvalidInput
from headrace.runtime.db import Connection
from services.tracking.domain.batches import changed_param, changed_params
from services.tracking.domain.entities import RUN_NAME_TAG
from services.tracking.domain.entries import Entry
from services.tracking.domain.errors import RunHeld, inactive_run, no_run, stop_requested


async def write_pairs(
    connection: Connection, entries: Sequence[Entry], *, project: str, wait: bool
) -> tuple[dict[int, Exception], dict[int, Entry]]:
    """Write the params and tags of entries; returns refusals, and the rest with what changed.

    Without `wait`, entries of runs that somebody holds are refused with RunHeld.
    """
    states, held = await _lock_runs(connection, entries, project=project, wait=wait)
    params, tags = await _stored_pairs(connection, entries)
    refused: dict[int, Exception] = {}
    fresh: dict[int, Entry] = {}
    new_params: dict[tuple[str, str], str] = {}
    new_tags: dict[tuple[str, str], str] = {}
    for place, entry in enumerate(entries):
        if not (entry.params or entry.tags):
            fresh[place] = entry
            continue
        error = (
            RunHeld(f"run {entry.run_id} is being changed")
            if entry.run_id in held
            else refusal(entry.run_id, states.get(entry.run_id)) or _conflict(entry, params)
        )
        if error is not None:
            refused[place] = error
            continue
        added = _added(entry.run_id, entry.params, params)
        changed = _added(entry.run_id, entry.tags, tags)
        new_params.update(added)
        new_tags.update(changed)
        fresh[place] = replace(
            entry,
            params={key: value for (_, key), value in added.items()},
            tags={key: value for (_, key), value in changed.items()},
        )
    await _put(connection, "param", new_params)
    await _put(connection, "tag", new_tags)
    await _rename(connection, new_tags)
    return refused, fresh


def _added(
    run_id: str, pairs: Mapping[str, str], stored: dict[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """Pairs that differ from what is stored, which they become part of."""
    added = {
        (run_id, key): value for key, value in pairs.items() if stored.get((run_id, key)) != value
    }
    stored.update(added)
    return added


def _conflict(entry: Entry, params: Mapping[tuple[str, str], str]) -> InvalidInput | None:
    changes = [
        (key, params[entry.run_id, key], value)
        for key, value in entry.params.items()
        if params.get((entry.run_id, key), value) != value
    ]
    if not changes:
        return None
    if entry.single_param:
        return changed_param(entry.run_id, *changes[0])
    return changed_params(entry.run_id, changes)


async def _lock_runs(
    connection: Connection, entries: Sequence[Entry], *, project: str, wait: bool
) -> tuple[dict[str, asyncpg.Record], set[str]]:
    """States of the runs that are locked now, and the runs that somebody else holds."""
    wanted = {entry.run_id for entry in entries if entry.params or entry.tags}
    rows = await connection.fetch(
        "select run_id, lifecycle_stage, stop_requested_at from run"  # noqa: S608 - ours
        " where project = $1 and run_id = any($2) order by run_id for no key update"
        + ("" if wait else " skip locked"),
        project,
        list(wanted),
    )
    states = {row["run_id"]: row for row in rows}
    missing = list(wanted - states.keys())
    if wait or not missing:
        return states, set()
    there = await connection.fetch(
        "select run_id from run where project = $1 and run_id = any($2)", project, missing
    )
    return states, {row["run_id"] for row in there}


async def _stored_pairs(
    connection: Connection, entries: Sequence[Entry]
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """Params and tags that are there under the entries' keys."""
    params = [(entry.run_id, key) for entry in entries for key in entry.params]
    tags = [(entry.run_id, key) for entry in entries for key in entry.tags]
    rows = await connection.fetch(
        """
        select true as of_param, param.run_id, param.key, param.value
        from unnest($1::text[], $2::text[]) as wanted (run_id, key)
        join param using (run_id, key)
        union all
        select false, tag.run_id, tag.key, tag.value
        from unnest($3::text[], $4::text[]) as wanted (run_id, key)
        join tag using (run_id, key)
        """,
        *(list(column) for column in zip(*params, strict=True)) if params else ([], []),
        *(list(column) for column in zip(*tags, strict=True)) if tags else ([], []),
    )
    found: tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]] = ({}, {})
    for row in rows:
        found[0 if row["of_param"] else 1][row["run_id"], row["key"]] = row["value"]
    return found


async def _put(connection: Connection, table: str, pairs: Mapping[tuple[str, str], str]) -> None:
    if not pairs:
        return
    statement = {
        "param": "insert into param (run_id, experiment_id, key, value)"
        " select run_id, experiment_id, key, value"
        " from unnest($1::text[], $2::text[], $3::text[]) as given (run_id, key, value)"
        " join run using (run_id)",
        "tag": "insert into tag (run_id, experiment_id, key, value)"
        " select run_id, experiment_id, key, value"
        " from unnest($1::text[], $2::text[], $3::text[]) as given (run_id, key, value)"
        " join run using (run_id)"
        " on conflict (run_id, key) do update set value = excluded.value",
    }[table]
    ordered = sorted(pairs.items())
    await connection.execute(
        statement,
        [run_id for (run_id, _), _ in ordered],
        [key for (_, key), _ in ordered],
        [value for _, value in ordered],
    )


async def _rename(connection: Connection, tags: Mapping[tuple[str, str], str]) -> None:
    """The tag of a run's name is its name."""
    names = {run_id: name for (run_id, key), name in tags.items() if key == RUN_NAME_TAG and name}
    if names:
        await connection.execute(
            "update run set name = given.name from unnest($1::text[], $2::text[])"
            " as given (run_id, name) where run.run_id = given.run_id",
            list(names),
            list(names.values()),
        )


def refusal(run_id: str, state: asyncpg.Record | None) -> Exception | None:
    """Why a run in that state takes no write; None if it does."""
    if state is None:
        return no_run(run_id)
    if state["lifecycle_stage"] != "active":
        return inactive_run(run_id, state["lifecycle_stage"])
    if state["stop_requested_at"] is not None:
        return stop_requested(run_id)
    return None
