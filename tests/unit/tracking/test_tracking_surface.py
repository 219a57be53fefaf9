"""The OpenAPI document describes exactly the endpoints that there are."""

from __future__ import annotations

from services.tracking.api import (
    bulk,
    datasets,
    experiments,
    logging,
    metrics,
    models,
    openapi,
    runs,
)
from services.tracking.api.surface import KINDS, OPERATIONS

TABLES = (bulk, datasets, experiments, logging, metrics, models, runs)


def test_every_endpoint_is_described_and_no_other() -> None:
    routed = {
        (method, path.replace(":path", "")) for table in TABLES for method, path, _ in table.ROUTES
    }
    assert {(one.method, one.path) for one in OPERATIONS} == routed


def test_every_field_has_a_kind_that_is_defined() -> None:
    kinds = {parameter.kind for one in OPERATIONS for parameter in one.parameters}
    assert kinds <= KINDS.keys()


def test_a_get_takes_a_query_and_a_post_takes_a_body() -> None:
    paths = openapi.document()["paths"]
    assert isinstance(paths, dict)
    search = paths["/api/2.0/mlflow/experiments/search"]
    assert "requestBody" not in search["get"]
    assert search["post"]["parameters"] == []
    body = search["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["order_by"] == {"$ref": "#/components/schemas/texts"}
