"""MLflow's traces, and OTLP for their spans."""

from __future__ import annotations

from fastapi import APIRouter

from headrace.runtime.service import Resources
from services.tracking.api.call import Gate, RouteTable
from services.tracking.api.traces import assessments, infos, metrics, search
from services.tracking.api.traces.otlp import export_endpoint
from services.tracking.settings import Settings
from services.tracking.store.traces.intake import TraceIntake


def add_otlp(
    routes: APIRouter, resources: Resources[Settings], gate: Gate, intake: TraceIntake
) -> None:
    """`/v1/traces`, where OpenTelemetry exporters look for it."""
    endpoint = export_endpoint(resources, gate, intake)
    routes.add_route("/v1/traces", endpoint, methods=["POST"])


def v3_routes(intake: TraceIntake) -> RouteTable:
    """Routes below `/api/3.0/mlflow`."""
    return (
        ("POST", "/traces", infos.start(intake)),
        *search.ROUTES,
        *metrics.ROUTES,
        *infos.V3_ROUTES,
        *assessments.ROUTES,
    )


V2_ROUTES = infos.V2_ROUTES
"""Routes below `/api/2.0/mlflow`: what clients of the third version still ask for there."""
