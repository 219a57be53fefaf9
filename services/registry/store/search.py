"""Search of models and versions: parsed filters as SQL with parameters only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from headrace.runtime.db import Connection
from services.registry.domain.records import Model, Version
from services.registry.domain.search import PROMPT_TAG, Clause, Order, wants_prompts
from services.registry.store import models, versions

_MODEL_COLUMNS: Final = MappingProxyType(
    {
        "name": "m.name",
        "creation_timestamp": "m.created_at",
        "last_updated_timestamp": "m.updated_at",
    }
)
_VERSION_COLUMNS: Final = MappingProxyType(
    {
        "name": "m.name",
        "run_id": "v.run_id",
        "source_path": "v.source",
        "version_number": "v.version",
        "creation_timestamp": "v.created_at",
        "last_updated_timestamp": "v.updated_at",
    }
)


@dataclass(slots=True)
class _Conditions:
    """Conditions joined by AND, and the parameters that they refer to."""

    parameters: list[object] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def parameter(self, value: object) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def compare(self, column: str, clause: Clause) -> str:
        value = clause.value
        if isinstance(value, tuple):
            negated = "not " if clause.op == "NOT IN" else ""
            return f"{negated}{column} = any({self.parameter(list(value))}::text[])"
        kind = "bigint" if isinstance(value, int) else "text"
        return f"{column} {clause.op} {self.parameter(value)}::{kind}"

    def add(self, clauses: Sequence[Clause], columns: Mapping[str, str], tags: str) -> None:
        """Clauses on `columns` and on the tag rows that the subquery head `tags` selects."""
        prompts = wants_prompts(clauses)
        if not prompts:
            prompt = f"t.key = {self.parameter(PROMPT_TAG)} and t.value = 'true'"
            self.conditions.append(f"not exists ({tags} and {prompt})")
        for clause in clauses:
            if clause.kind == "attribute":
                self.conditions.append(self.compare(columns[clause.key], clause))
            elif prompts or clause.key != PROMPT_TAG:
                key = self.parameter(clause.key)
                matches = f"t.key = {key} and {self.compare('t.value', clause)}"
                self.conditions.append(f"exists ({tags} and {matches})")


async def search_models(
    connection: Connection,
    *,
    project: str,
    clauses: Sequence[Clause],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[Model]:
    """Models that match, at most `limit` from `offset` on; by name unless told otherwise."""
    where = _Conditions()
    where.conditions = [f"m.project = {where.parameter(project)}", "m.deleted_at is null"]
    where.add(clauses, _MODEL_COLUMNS, "select from model_tag t where t.model_id = m.id")
    order = _order(orders, _MODEL_COLUMNS, ("m.name",))
    rows = await connection.fetch(
        f"select {models.COLUMNS} {models.FROM}"
        f" where {' and '.join(where.conditions)} order by {order}"
        f" limit {where.parameter(limit)} offset {where.parameter(offset)}",
        *where.parameters,
    )
    return [models.read(row) for row in rows]


async def search_versions(
    connection: Connection,
    *,
    project: str,
    clauses: Sequence[Clause],
    orders: Sequence[Order],
    limit: int,
    offset: int,
) -> list[Version]:
    """Versions that match; last changed first unless told otherwise."""
    where = _Conditions()
    where.conditions = [
        f"v.project = {where.parameter(project)}",
        "v.deleted_at is null",
        "m.deleted_at is null",
    ]
    where.add(clauses, _VERSION_COLUMNS, "select from version_tag t where t.version_id = v.id")
    default = [Order(key="last_updated_timestamp", ascending=False)]
    order = _order(orders or default, _VERSION_COLUMNS, ("m.name", "v.version desc"))
    rows = await connection.fetch(
        f"select {versions.COLUMNS} {versions.FROM}"
        f" where {' and '.join(where.conditions)} order by {order}"
        f" limit {where.parameter(limit)} offset {where.parameter(offset)}",
        *where.parameters,
    )
    return [versions.read(row) for row in rows]


def _order(orders: Sequence[Order], columns: Mapping[str, str], last: Sequence[str]) -> str:
    given = [f"{columns[order.key]}{'' if order.ascending else ' desc'}" for order in orders]
    named = {column.removesuffix(" desc") for column in given}
    ties = [column for column in last if column.removesuffix(" desc") not in named]
    return ", ".join([*given, *ties])
