"""SQL of the rules of the prediction log."""

from __future__ import annotations

from headrace.runtime.db import Connection


async def log_rules(
    connection: Connection, *, project: str
) -> list[tuple[str, int, dict[str, object]]]:
    """The newest rules of the prediction log of every model, and their version."""
    rows = await connection.fetch(
        "select distinct on (model) model, version, rules from log_rules where project=$1"
        " order by model, version desc",
        project,
    )
    return [(row["model"], row["version"], row["rules"]) for row in rows]


async def add_log_rules(
    connection: Connection, *, project: str, model: str, rules: dict[str, object], by: str
) -> int:
    """Keep new rules of a model; returns their version. Inside a transaction."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtext($1))", f"log_rules/{project}/{model}"
    )
    version: int = await connection.fetchval(
        "insert into log_rules (project, model, version, rules, changed_by)"
        " select $1, $2, coalesce(max(version), 0) + 1, $3, $4 from log_rules"
        " where project=$1 and model=$2 returning version",
        project,
        model,
        rules,
        by,
    )
    return version
