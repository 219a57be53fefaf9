"""MLflow's traces, and OTLP for their spans."""

from __future__ import annotations

from services.tracking.api.call import RouteTable
from services.tracking.api.traces import assessments, infos, metrics, search
from services.tracking.store.traces.intake import TraceIntake


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
