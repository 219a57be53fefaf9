"""`traces/metrics`: counts, latencies, tokens and scores, over time and by group."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, number
from services.tracking.api.fields import Fields
from services.tracking.domain.names import experiment_number
from services.tracking.domain.search import next_token, offset_of
from services.tracking.domain.traces.metrics import (
    AGGREGATIONS,
    VIEWS,
    Aggregation,
    MetricQuery,
    check_metric,
    parse_metric_filters,
)
from services.tracking.domain.traces.search import spans_asked
from services.tracking.domain.values import missing
from services.tracking.store.traces.metrics import DataPoint, query_metrics

MAX_RESULTS: Final = 1000
MAX_AGGREGATIONS: Final = 20


async def metrics(call: Call) -> Document:
    fields = call.fields
    experiments = [experiment_number(one) for one in fields.texts("experiment_ids")]
    if not experiments:
        raise missing("experiment_ids")
    query = _query(fields)
    limit = fields.bounded("max_results", default=MAX_RESULTS, most=MAX_RESULTS)
    offset = offset_of(fields.text("page_token"))
    async with call.resources.pool.acquire() as connection:
        points = await query_metrics(
            connection,
            query,
            project=call.project,
            experiments=experiments,
            limit=limit + 1,
            offset=offset,
        )
    document: Document = {
        "data_points": [_document(query.metric, one) for one in points[:limit] if one.values]
    }
    if len(points) > limit:
        document["next_page_token"] = next_token(offset + limit)
    return document


def _query(fields: Fields) -> MetricQuery:
    view = fields.choice("view_type", VIEWS)
    if view is None:
        raise missing("view_type")
    metric, dimensions = fields.required("metric_name"), fields.texts("dimensions")
    aggregations = [_aggregation(given) for given in fields.each("aggregations")]
    if not 0 < len(aggregations) <= MAX_AGGREGATIONS:
        raise InvalidInput(
            f"aggregations: expected 1 to {MAX_AGGREGATIONS}, got {len(aggregations)}.",
            field="aggregations",
        )
    check_metric(view, metric, [one.kind for one in aggregations], dimensions)
    condition, assessed = parse_metric_filters(fields.texts("filters"))
    if any(spans_asked(condition)):
        raise InvalidInput("Filters on spans are not supported here.", field="filters")
    return MetricQuery(
        view=view,
        metric=metric,
        aggregations=aggregations,
        dimensions=list(dict.fromkeys(dimensions)),
        condition=condition,
        assessed=assessed,
        interval=_interval(fields),
        start_ms=fields.integer("start_time_ms"),
        end_ms=fields.integer("end_time_ms"),
    )


def _interval(fields: Fields) -> int | None:
    interval = fields.integer("time_interval_seconds")
    if interval is None:
        return None
    if not 0 < interval <= 10**9:
        raise InvalidInput(
            f"time_interval_seconds must be positive, got {interval}.",
            field="time_interval_seconds",
        )
    if not (fields.has("start_time_ms") and fields.has("end_time_ms")):
        raise InvalidInput(
            "start_time_ms and end_time_ms are required if time_interval_seconds is set",
            field="time_interval_seconds",
        )
    return interval


def _aggregation(given: Fields) -> Aggregation:
    kind = given.choice("aggregation_type", AGGREGATIONS)
    if kind is None:
        raise missing("aggregations.aggregation_type")
    if kind != "PERCENTILE":
        return Aggregation(kind=kind)
    percentile = given.real("percentile_value")
    if not 0 <= percentile <= 100:
        raise InvalidInput(
            f"Percentile value must be between 0 and 100, got {percentile}", field="aggregations"
        )
    return Aggregation(kind=kind, percentile=percentile)


def _document(metric: str, point: DataPoint) -> Document:
    dimensions = dict(point.dimensions)
    if point.bucket_ms is not None:
        dimensions["time_bucket"] = datetime.fromtimestamp(point.bucket_ms / 1000, UTC).isoformat()
    values = {name: number(value) for name, value in point.values.items()}
    return {"metric_name": metric, "dimensions": dimensions, "values": values}


ROUTES: Final[RouteTable] = (("POST", "/traces/metrics", metrics),)
