"""`experiments/search-datasets`: what a user interface offers to filter runs by."""

from __future__ import annotations

from typing import Final

from headrace.errors import InvalidInput
from services.tracking.api.call import Call, RouteTable
from services.tracking.api.documents import Document
from services.tracking.domain.entities import DatasetUse
from services.tracking.domain.names import experiment_number
from services.tracking.store import datasets as store

MAX_EXPERIMENTS: Final = 20
MAX_RESULTS: Final = 1000


async def search(call: Call) -> Document:
    experiments = call.fields.texts("experiment_ids")
    if not experiments:
        raise InvalidInput(
            "SearchDatasets request must specify at least one experiment_id.",
            field="experiment_ids",
        )
    if len(experiments) > MAX_EXPERIMENTS:
        raise InvalidInput(
            f"SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. "
            f"Received {len(experiments)} experiment_ids.",
            field="experiment_ids",
        )
    async with call.resources.pool.acquire() as connection:
        found = await store.used_datasets(
            connection,
            project=call.project,
            experiments=[experiment_number(one) for one in experiments],
            limit=MAX_RESULTS,
        )
    return {"dataset_summaries": [_document(use) for use in found]} if found else {}


def _document(use: DatasetUse) -> Document:
    document: Document = {
        "experiment_id": use.experiment_id,
        "name": use.name,
        "digest": use.digest,
    }
    if use.context is not None:
        document["context"] = use.context
    return document


ROUTES: Final[RouteTable] = (("POST", "/experiments/search-datasets", search),)
