"""MLflow's REST API, answered to unmodified clients."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from headrace.runtime.service import Resources
from services.tracking.api import (
    aggregates,
    artifacts,
    bulk,
    datasets,
    evaluation,
    experiments,
    imports,
    live,
    logging,
    metrics,
    models,
    openapi,
    purge,
    runs,
    scorers,
    server,
    traces,
)
from services.tracking.api.call import Gate, RouteTable, endpoint
from services.tracking.api.traces.otlp import PATH, SpanExports
from services.tracking.settings import Settings
from services.tracking.store.folder import Folder
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.writer import Writer

BASES: Final = ("/api", "/ajax-api")
_ANY: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def router(
    resources: Resources[Settings],
    *,
    gate: Gate,
    writer: Writer,
    folder: Folder,
    intake: TraceIntake,
    exports: SpanExports,
) -> APIRouter:
    """All routes; what is called most comes first, since routes are tried in order."""
    routes = APIRouter()
    routes.add_route(PATH, exports.serve, methods=["POST"])

    def add(prefix: str, table: RouteTable) -> None:
        for method, path, function in table:
            serve = endpoint(function, resources, gate, writer, folder)
            routes.add_route(prefix + path, serve, methods=[method])

    def add_streams(prefix: str, table: artifacts.StreamTable) -> None:
        for method, path, stream in table:
            routes.add_route(prefix + path, stream(resources, gate), methods=[method])

    for base in BASES:
        for table in (logging.ROUTES, runs.ROUTES, metrics.ROUTES, artifacts.RUN_ROUTES):
            add(f"{base}/2.0/mlflow", table)
        add(f"{base}/3.0/mlflow", traces.v3_routes(intake))
        add(f"{base}/2.0/mlflow", traces.V2_ROUTES)
        add(f"{base}/2.0/mlflow", experiments.ROUTES)
        add(f"{base}/2.0/mlflow", models.ROUTES)
        add(f"{base}/2.0/mlflow", (*bulk.ROUTES, *datasets.ROUTES))
        add(f"{base}/3.0/mlflow", server.ROUTES)
        add(f"{base}/3.0/mlflow", scorers.ROUTES)
        add(f"{base}/3.0/mlflow", evaluation.ROUTES)
        add(f"{base}/2.0/mlflow-artifacts", artifacts.PROXY_ROUTES)
        add_streams(f"{base}/2.0/mlflow", artifacts.RUN_STREAMS)
        add_streams(f"{base}/2.0/mlflow-artifacts", artifacts.PROXY_STREAMS)
        for unknown in ("2.0/mlflow", "3.0/mlflow", "2.0/mlflow-artifacts"):
            routes.add_route(f"{base}/{unknown}/{{rest:path}}", server.not_found, methods=_ANY)
    add("/api/tracking/v1", purge.ROUTES)
    add_streams("", artifacts.PAGE_STREAMS)
    add("/api/tracking/v1", live.ROUTES)
    tail = live.tail(resources, gate, writer)
    routes.add_route("/api/tracking/v1/runs/{run_id}/tail", tail, methods=["GET"])
    add("/api/tracking/v1", aggregates.ROUTES)
    routes.add_route("/api/tracking/v1/openapi.json", openapi.serve, methods=["GET"])
    add("/api/tracking/v1", imports.ROUTES)
    routes.add_route("/version", server.version, methods=["GET"])
    routes.add_route("/health", server.health, methods=["GET"])
    return routes
