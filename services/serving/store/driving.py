"""Columns that the tables of rollouts, bandits and experiments have in common."""

from __future__ import annotations

import asyncpg

from services.serving.domain.driving import Beginning


def beginning_of(row: asyncpg.Record) -> Beginning:
    """How it began, and the table that it set last."""
    return Beginning(
        project=row["project"],
        model=row["model"],
        champion=row["champion"],
        table=row["table_version"],
        author=row["author"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
        started_at=row["started_at"],
    )
