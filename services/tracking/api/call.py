"""One MLflow call, and how a function that answers it becomes a route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from headrace.errors import InvalidInput, Transient
from headrace.runtime.bus import Caller
from headrace.runtime.service import FastAnswer, Resources
from headrace.runtime.telemetry import Log
from services.tracking.api.documents import Document
from services.tracking.api.errors import answer, is_unforeseen
from services.tracking.api.fields import Fields, of_body, of_query
from services.tracking.domain.budget import ByteBudget
from services.tracking.domain.entries import Chain
from services.tracking.settings import Settings
from services.tracking.store.chains import chain_of
from services.tracking.store.folder import Folder
from services.tracking.store.writer import Writer

MAX_BODY: Final = 48 * 1024 * 1024
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What was asked: `fields` of body or query, `path` parameters, and by whom.

    `chain` is what the caller itself said of it, None if it said nothing.
    """

    fields: Fields
    path: Mapping[str, str]
    caller: Caller
    chain: Chain | None
    resources: Resources[Settings]
    writer: Writer
    folder: Folder

    @property
    def project(self) -> str:
        """The project that everything belongs to."""
        return self.resources.settings.project


Function = Callable[[Call], Awaitable[Document | Response]]
"""Answers with a JSON object, or with a response of its own."""
Endpoint = Callable[[Request], Awaitable[Response]]
RouteTable = Sequence[tuple[str, str, Function]]
"""Method, path below the prefix, and the function that answers."""


class Gate:
    """Counts calls in hand, and the bytes of their bodies, and turns away what is above."""

    def __init__(self, most: int, *, most_bytes: int) -> None:
        self._most = most
        self._inside = 0
        self.bodies = ByteBudget(most_bytes, of="bodies")
        """For a body whose size nobody said, as it comes."""

    @contextmanager
    def inside(self, size: int = 0) -> Iterator[None]:
        """While a call with so many bytes is in hand. Raises Transient if that is too much."""
        if self._inside >= self._most:
            raise Transient(f"more than {self._most} calls are in hand")
        self._inside += 1
        try:
            with self.bodies.request() as take:
                take(size)
                yield
        finally:
            self._inside -= 1


def endpoint(
    function: Function,
    resources: Resources[Settings],
    gate: Gate,
    writer: Writer,
    folder: Folder,
) -> Endpoint:
    """The route that answers with a JSON object, or with MLflow's error JSON."""

    async def serve(request: Request) -> Response:
        declared = _declared_size(request)

        async def work() -> Response:
            with gate.bodies.request() as take:
                fields = await _fields(request, take if declared is None else _taken)
                call = Call(
                    fields=fields,
                    path=request.path_params,
                    caller=Caller.of(request.headers),
                    chain=_chain(request),
                    resources=resources,
                    writer=writer,
                    folder=folder,
                )
                document = await function(call)
            if isinstance(document, Response):
                return document
            return Response(orjson.dumps(document, option=_OPTIONS), media_type="application/json")

        return await guarded(work, resources, gate, request, size=declared or 0)

    return serve


async def guarded(
    work: Callable[[], Awaitable[Response]],
    resources: Resources[Settings],
    gate: Gate,
    request: Request,
    *,
    size: int = 0,
) -> Response:
    """Work behind the gate, its errors as answers; `size` bytes of it are held in memory."""
    try:
        with gate.inside(size):
            return await work()
    except Exception as error:
        if is_unforeseen(error):
            resources.log.exception("call_failed", method=request.method, path=request.url.path)
        return answer(error)


async def guarded_fast(
    work: Callable[[], Awaitable[FastAnswer]], gate: Gate, log: Log, *, size: int = 0
) -> FastAnswer:
    """As `guarded`, for a fast route."""
    try:
        with gate.inside(size):
            return await work()
    except Exception as error:
        if is_unforeseen(error):
            log.exception("call_failed", route="fast")
        refused = answer(error)
        headers = [header for header in refused.raw_headers if header[0] == b"retry-after"]
        return FastAnswer(refused.status_code, bytes(refused.body), tuple(headers))


def _chain(request: Request) -> Chain | None:
    """The chain that the request names itself; most name none."""
    named = getattr(request.state, "caller_named", True)
    return chain_of(Caller.of(request.headers)) if named else None


def _declared_size(request: Request) -> int | None:
    """What the client says that it sends, as far as it would be held in memory; None if nothing."""
    declared = request.headers.get("content-length", "")
    return min(int(declared), MAX_BODY) if declared.isdecimal() else None


def _taken(size: int) -> None:
    """Bytes that are counted already."""
    _ = size


async def _fields(request: Request, take: Callable[[int], None]) -> Fields:
    if request.method == "GET":
        return of_query(request.query_params)
    body = await _body(request, take)
    content_type = request.headers.get("content-type")
    if request.method == "POST" and (content_type or "").split(";")[0] != "application/json":
        reason = (
            "Content-Type must be one of ['application/json']."
            if content_type
            else "Content-Type header is missing."
        )
        raise InvalidInput(f"Bad Request. {reason}", field="Content-Type")
    return of_body(body)


async def _body(request: Request, take: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise InvalidInput(f"The request body is larger than {MAX_BODY} bytes.", field="body")
        take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)
