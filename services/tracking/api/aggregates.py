"""`/api/tracking/v1/runs/aggregate`: what MLflow's API has no call for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.api.experiments import VIEW_TYPES
from services.tracking.api.runs import fold_first
from services.tracking.domain.entities import STAGES
from services.tracking.domain.names import experiment_number
from services.tracking.domain.search import RUNS, Field, parse_filter, parse_group, parse_measure
from services.tracking.domain.search.aggregates import MAX_GROUPS, MAX_KEYS, MAX_MEASURES
from services.tracking.store.aggregates import Group, aggregate_runs
from services.tracking.store.run_conditions import Scope

DEFAULT_GROUPS: Final = 100
_Entry = TypeVar("_Entry")


async def aggregate(call: Call) -> Document:
    fields = call.fields
    named = _bounded(fields.texts("group_by"), "group_by", MAX_KEYS)
    asked = _bounded(fields.each("metrics"), "metrics", MAX_MEASURES)
    measures = [parse_measure(one.required("key"), one.text("of") or "") for one in asked]
    limit = fields.bounded("max_groups", default=DEFAULT_GROUPS, most=MAX_GROUPS)
    scope = Scope(
        project=call.project,
        experiments=[experiment_number(one) for one in fields.texts("experiment_ids")],
        stages=STAGES[fields.choice("run_view_type", VIEW_TYPES) or "ACTIVE_ONLY"],
        condition=parse_filter(fields.text("filter"), RUNS),
    )
    await fold_first(call, scope.experiments)
    async with call.resources.pool.acquire() as connection:
        groups = await aggregate_runs(
            connection,
            scope,
            groups=[parse_group(text) for text in named],
            measures=measures,
            limit=limit + 1,
        )
    return {
        "groups": [_document(group, named, measures) for group in groups[:limit]],
        "truncated": len(groups) > limit,
    }


def _bounded(entries: Sequence[_Entry], name: str, most: int) -> Sequence[_Entry]:
    if len(entries) > most:
        raise InvalidInput(
            f"Invalid value for parameter '{name}' supplied: at most {most} entries, "
            f"got {len(entries)}",
            field=name,
        )
    return entries


def _document(group: Group, named: Sequence[str], measures: Sequence[Field]) -> Document:
    return {
        "group": dict(zip(named, group.values, strict=True)),
        "runs": group.runs,
        "metrics": [
            {
                "key": measure.key,
                "of": measure.statistic,
                "count": one.count,
                "mean": one.mean,
                "std": one.std,
                "min": one.minimum,
                "max": one.maximum,
            }
            for measure, one in zip(measures, group.aggregates, strict=True)
        ],
    }


ROUTES: Final[RouteTable] = (("POST", "/runs/aggregate", aggregate),)
