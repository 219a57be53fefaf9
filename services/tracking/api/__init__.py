"""MLflow's REST API, answered to unmodified clients."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.convertors import register_url_convertor

from headrace.runtime.service import Resources
from services.tracking.api import (
    artifacts,
    bulk,
    datasets,
    experiments,
    logging,
    metrics,
    models,
    openapi,
    runs,
    server,
)
from services.tracking.api.call import Gate, RouteTable, endpoint
from services.tracking.settings import Settings

BASES: Final = ("/api", "/ajax-api")
_ANY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def router(resources: Resources[Settings]) -> APIRouter:
    """All routes; what is called most comes first, since routes are tried in order."""
    register_url_convertor("anything", server.Anything())
    gate = Gate(resources.settings.max_in_flight)
    routes = APIRouter()

    def add(prefix: str, table: RouteTable) -> None:
        for method, path, function in table:
            routes.add_route(prefix + path, endpoint(function, resources, gate), methods=[method])

    for base in BASES:
        for table in (logging.ROUTES, runs.ROUTES, metrics.ROUTES, artifacts.RUN_ROUTES):
            add(f"{base}/2.0/mlflow", table)
        add(f"{base}/2.0/mlflow", experiments.ROUTES)
        add(f"{base}/2.0/mlflow", models.ROUTES)
        add(f"{base}/2.0/mlflow", (*bulk.ROUTES, *datasets.ROUTES))
        add(f"{base}/3.0/mlflow", server.ROUTES)
        add(f"{base}/2.0/mlflow-artifacts", artifacts.PROXY_ROUTES)
        for method, stream in artifacts.STREAMS:
            path = f"{base}/2.0/mlflow-artifacts/artifacts/{{path:path}}"
            routes.add_route(path, stream(resources, gate), methods=[method])
        for unknown in ("2.0/mlflow", "3.0/mlflow", "2.0/mlflow-artifacts"):
            routes.add_route(f"{base}/{unknown}/{{rest:anything}}", server.not_found, methods=_ANY)
    routes.add_route("/api/tracking/v1/openapi.json", openapi.serve, methods=["GET"])
    routes.add_route("/version", server.version, methods=["GET"])
    routes.add_route("/health", server.health, methods=["GET"])
    return routes
