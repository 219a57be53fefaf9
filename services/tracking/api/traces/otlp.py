"""`POST /v1/traces`: spans by OTLP, from any OpenTelemetry exporter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InvalidInput
from headrace.runtime.service import Resources
from services.tracking.api.call import Endpoint, Gate, guarded
from services.tracking.domain.errors import NotSpans
from services.tracking.domain.names import check_run_id, experiment_number
from services.tracking.domain.traces import otlp
from services.tracking.domain.traces.budget import ByteBudget
from services.tracking.settings import Settings
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.traces.writes import SpanWrite

EXPERIMENT_HEADER: Final = "x-mlflow-experiment-id"
RUN_HEADER: Final = "x-mlflow-run-id"
MAX_IN_HAND: Final = 128 * 1024 * 1024


def export_endpoint(resources: Resources[Settings], gate: Gate, intake: TraceIntake) -> Endpoint:
    """The route that answers once the spans are durable."""
    budget = ByteBudget(MAX_IN_HAND)

    async def serve(request: Request) -> Response:
        async def work() -> Response:
            with budget.request() as take:
                return await _export(request, intake, take)

        return await guarded(work, resources, gate, request)

    return serve


async def _export(request: Request, intake: TraceIntake, take: Callable[[int], None]) -> Response:
    headers = request.headers
    encoding = otlp.encoding_of(headers.get("content-type"))
    experiment = headers.get(EXPERIMENT_HEADER)
    if not experiment:
        raise NotSpans(f"Missing header {EXPERIMENT_HEADER}: the experiment that the spans go to.")
    run_id = headers.get(RUN_HEADER)
    packed = await _body(request, take)
    body = otlp.uncompressed(packed, headers.get("content-encoding"))
    take(len(body) - len(packed))
    batch = otlp.read(body, encoding)
    await intake.add_spans(
        SpanWrite(
            experiment=experiment_number(experiment),
            batch=batch,
            run_id=check_run_id(run_id) if run_id else None,
        )
    )
    return Response(otlp.response(batch.sketches, encoding), media_type=encoding)


async def _body(request: Request, take: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        take(len(chunk))
        if size > otlp.MAX_BYTES:
            raise InvalidInput(
                f"The request body is larger than {otlp.MAX_BYTES} bytes.", field="body"
            )
        chunks.append(chunk)
    return b"".join(chunks)
