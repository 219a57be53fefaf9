"""`traces/search` and what is counted over a search."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document, number
from services.tracking.api.traces.documents import info_document
from services.tracking.api.traces.reading import experiments_of
from services.tracking.domain.names import experiment_number
from services.tracking.domain.search import next_token, offset_of
from services.tracking.domain.traces.correlation import normalized_pmi
from services.tracking.domain.traces.search import (
    AllOf,
    Condition,
    parse_filter,
    parse_order,
    spans_asked,
)
from services.tracking.domain.values import missing
from services.tracking.store.traces.search import Asked, count_traces, search_traces

DEFAULT_RESULTS: Final = 100
MAX_RESULTS: Final = 500


async def search(call: Call) -> Document:
    fields = call.fields
    asked = Asked(
        project=call.project,
        experiments=_experiments(call),
        condition=parse_filter(fields.text("filter")),
        orders=parse_order(fields.texts("order_by")),
    )
    limit = fields.bounded("max_results", default=DEFAULT_RESULTS, most=MAX_RESULTS)
    offset = offset_of(fields.text("page_token"))
    async with call.resources.pool.acquire() as connection:
        page = await search_traces(connection, asked, limit=limit, offset=offset)
    document: Document = {}
    if page.traces:
        document["traces"] = [info_document(trace) for trace in page.traces]
    if page.next_offset is not None:
        document["next_page_token"] = next_token(page.next_offset)
    return document


async def correlate(call: Call) -> Document:
    """How much two filters find the same traces."""
    fields = call.fields
    experiments = [experiment_number(one) for one in fields.texts("experiment_ids")]
    if not experiments:
        raise missing("experiment_ids")
    base = parse_filter(fields.text("base_filter"))
    first, second = (
        parse_filter(fields.required(name)) for name in ("filter_string1", "filter_string2")
    )
    _without_spans(base, first, second)
    asked = Asked(project=call.project, experiments=experiments, condition=base, orders=())
    async with call.resources.pool.acquire() as connection:
        total, ones, others, both = await count_traces(
            connection, asked, [first, second, AllOf((first, second))]
        )
    counts = {"joint": both, "first": ones, "second": others, "total": total}
    return {
        "npmi": number(normalized_pmi(**counts)),
        "npmi_smoothed": number(normalized_pmi(**counts, smoothing=0.5)),
        "filter1_count": ones,
        "filter2_count": others,
        "joint_count": both,
        "total_count": total,
    }


def _experiments(call: Call) -> list[int]:
    """From `locations`, or `experiment_ids` as older clients have it."""
    locations, numbers = call.fields.each("locations"), call.fields.texts("experiment_ids")
    if not locations and not numbers:
        raise missing("locations")
    return [*experiments_of(locations), *(experiment_number(one) for one in numbers)]


def _without_spans(*conditions: Condition) -> None:
    if any(any(spans_asked(condition)) for condition in conditions):
        raise InvalidInput(
            "Filters on spans are not supported here; filter on traces.", field="filter_string1"
        )


ROUTES: Final[RouteTable] = (
    ("POST", "/traces/search", search),
    ("POST", "/traces/calculate-filter-correlation", correlate),
)
