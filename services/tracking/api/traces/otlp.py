"""`POST /v1/traces`: spans by OTLP, from any OpenTelemetry exporter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InvalidInput
from headrace.runtime.service import FastAnswer, FastRequest, Resources
from services.tracking.api.call import Gate, guarded, guarded_fast
from services.tracking.domain.budget import ByteBudget
from services.tracking.domain.errors import NotSpans
from services.tracking.domain.names import check_run_id, experiment_number
from services.tracking.domain.traces import otlp
from services.tracking.settings import Settings
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.traces.writes import SpanWrite

EXPERIMENT_HEADER: Final = "x-mlflow-experiment-id"
RUN_HEADER: Final = "x-mlflow-run-id"
PATH: Final = "/v1/traces"
MAX_IN_HAND: Final = 128 * 1024 * 1024
_PROTOBUF: Final = otlp.PROTOBUF.encode()


class SpanExports:
    """Takes in what exporters send; what was answered with 200 is durable.

    Whichever way requests come, they share one bound on the bytes in hand.
    """

    def __init__(self, resources: Resources[Settings], *, gate: Gate, intake: TraceIntake) -> None:
        self._resources = resources
        self._gate = gate
        self._intake = intake
        self._budget = ByteBudget(MAX_IN_HAND, of="spans")

    async def serve(self, request: Request) -> Response:
        """Answers every request, in either encoding."""

        async def work() -> Response:
            with self._budget.request() as take:
                return await self._export(request, take)

        return await guarded(work, self._resources, self._gate, request)

    async def serve_fast(self, request: FastRequest) -> FastAnswer | None:
        """Answers protobuf for an experiment that is named."""
        experiment = request.header(EXPERIMENT_HEADER.encode())
        if request.media_type != _PROTOBUF or not experiment:
            return None

        async def work() -> FastAnswer:
            with self._budget.request() as take:
                take(len(request.body))
                batch = _unpacked(request.body, request.header(b"content-encoding"), take)
                run_id = request.header(RUN_HEADER.encode())
                await self._add(batch, experiment, run_id)
                answered = otlp.response(batch.sketches, otlp.PROTOBUF)
                return FastAnswer(200, answered, media_type=_PROTOBUF)

        return await guarded_fast(work, self._gate, self._resources.log)

    async def _export(self, request: Request, take: Callable[[int], None]) -> Response:
        headers = request.headers
        encoding = otlp.encoding_of(headers.get("content-type"))
        experiment = headers.get(EXPERIMENT_HEADER)
        if not experiment:
            raise NotSpans(
                f"Missing header {EXPERIMENT_HEADER}: the experiment that the spans go to."
            )
        packed = await _body(request, take)
        batch = _unpacked(packed, headers.get("content-encoding"), take, encoding)
        await self._add(batch, experiment, headers.get(RUN_HEADER))
        return Response(otlp.response(batch.sketches, encoding), media_type=encoding)

    async def _add(self, batch: otlp.SpanBatch, experiment: str, run_id: str | None) -> None:
        await self._intake.add_spans(
            SpanWrite(
                experiment=experiment_number(experiment),
                batch=batch,
                run_id=check_run_id(run_id) if run_id else None,
            )
        )


def _unpacked(
    packed: bytes,
    content_encoding: str | None,
    take: Callable[[int], None],
    encoding: otlp.Encoding = otlp.PROTOBUF,
) -> otlp.SpanBatch:
    body = otlp.uncompressed(packed, content_encoding)
    take(len(body) - len(packed))
    return otlp.read(body, encoding)


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
