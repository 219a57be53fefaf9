"""`POST /v1/traces`: spans by OTLP, from any OpenTelemetry exporter."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InvalidInput
from headrace.runtime.service import Resources
from services.tracking.api.call import Endpoint, Gate, guarded
from services.tracking.domain.errors import NotSpans
from services.tracking.domain.names import check_run_id, experiment_number
from services.tracking.domain.traces import otlp
from services.tracking.settings import Settings
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.traces.writes import SpanWrite

EXPERIMENT_HEADER: Final = "x-mlflow-experiment-id"
RUN_HEADER: Final = "x-mlflow-run-id"


def export_endpoint(resources: Resources[Settings], gate: Gate, intake: TraceIntake) -> Endpoint:
    """The route that answers once the spans are durable."""

    async def serve(request: Request) -> Response:
        async def work() -> Response:
            return await _export(request, intake)

        return await guarded(work, resources, gate, request)

    return serve


async def _export(request: Request, intake: TraceIntake) -> Response:
    headers = request.headers
    encoding = otlp.encoding_of(headers.get("content-type"))
    experiment = headers.get(EXPERIMENT_HEADER)
    if not experiment:
        raise NotSpans(f"Missing header {EXPERIMENT_HEADER}: the experiment that the spans go to.")
    run_id = headers.get(RUN_HEADER)
    body = otlp.uncompressed(await _body(request), headers.get("content-encoding"))
    batch = otlp.read(body, encoding)
    await intake.add_spans(
        SpanWrite(
            experiment=experiment_number(experiment),
            batch=batch,
            run_id=check_run_id(run_id) if run_id else None,
        )
    )
    return Response(otlp.response(batch.sketches, encoding), media_type=encoding)


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > otlp.MAX_BYTES:
            raise InvalidInput(
                f"The request body is larger than {otlp.MAX_BYTES} bytes.", field="body"
            )
        chunks.append(chunk)
    return b"".join(chunks)
