"""MLflow's REST API, answered to unmodified clients."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from headrace.runtime.service import Resources
from services.tracking.api import (
    artifacts,
    experiments,
    imports,
    logging,
    metrics,
    models,
    runs,
    server,
)
from services.tracking.api.call import Gate, RouteTable, endpoint
from services.tracking.settings import Settings

BASES: Final = ("/api", "/ajax-api")
_ANY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def router(resources: Resources[Settings]) -> APIRouter:
    """All routes; what is called most comes first, since routes are tried in order."""
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
        add(f"{base}/3.0/mlflow", server.ROUTES)
        add(f"{base}/2.0/mlflow-artifacts", artifacts.PROXY_ROUTES)
        for method, stream in artifacts.STREAMS:
            path = f"{base}/2.0/mlflow-artifacts/artifacts/{{path:path}}"
            routes.add_route(path, stream(resources, gate), methods=[method])
        for unknown in ("2.0/mlflow", "3.0/mlflow", "2.0/mlflow-artifacts"):
            routes.add_route(f"{base}/{unknown}/{{rest:path}}", server.not_found, methods=_ANY)
    add("/api/tracking/v1", imports.ROUTES)
    routes.add_route("/version", server.version, methods=["GET"])
    routes.add_route("/health", server.health, methods=["GET"])
    return routes
