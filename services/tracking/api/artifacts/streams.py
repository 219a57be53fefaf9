"""Files on their way through this server, never held as a whole."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.blobs import Blobs, Conditions, OpenBlob
from headrace.runtime.blobs.faults import NotModified, UnmetCondition, UnsatisfiableRange
from headrace.runtime.service import Resources
from headrace.runtime.service.attachments import attachment_headers, media_type
from services.tracking.api.artifacts.direct import readable
from services.tracking.api.artifacts.owners import file_key, model_root, no_artifact, run_root
from services.tracking.api.call import Endpoint, Gate, guarded
from services.tracking.api.errors import response
from services.tracking.api.fields import of_query
from services.tracking.domain.paths import file_path, key_of
from services.tracking.domain.ranges import single_range
from services.tracking.settings import Settings

_STILL_SECONDS: Final = 60
_MAX_PAGE_UPLOAD: Final = 10 * 1024 * 1024
Work = Callable[[Resources[Settings], Request], Awaitable[Response]]
Stream = Callable[[Resources[Settings], Gate], Endpoint]


def streaming(work: Work) -> Stream:
    """The route that hands over bytes as they come, or MLflow's error JSON."""

    def route(resources: Resources[Settings], gate: Gate) -> Endpoint:
        async def serve(request: Request) -> Response:
            return await guarded(lambda: work(resources, request), resources, gate, request)

        return serve

    return route


async def put(resources: Resources[Settings], request: Request) -> Response:
    """Store the body under the path; answered when it is durable, visible when complete."""
    await resources.blobs.put_stream(_proxied_key(request), _moving(request.stream()))
    return JSONResponse({})


async def get(resources: Resources[Settings], request: Request) -> Response:
    """A file of the store."""
    return await send_file(resources.blobs, _proxied_key(request), request)


async def delete(resources: Resources[Settings], request: Request) -> Response:
    """Remove a file, or a directory with all that lies in it."""
    key = _proxied_key(request)
    await resources.blobs.delete(key)
    await resources.blobs.delete_below(f"{key}/")
    return JSONResponse({})


async def get_of_run(resources: Resources[Settings], request: Request) -> Response:
    """A file of a run, as pages link to it."""
    fields = of_query(request.query_params)
    root = await run_root(resources, fields.run_id())
    return await send_file(resources.blobs, file_key(root, fields.required("path")), request)


async def get_of_model(resources: Resources[Settings], request: Request) -> Response:
    """A file of a logged model, or with `presigned=true` where to read it."""
    fields = of_query(request.query_params)
    root = await model_root(resources, request.path_params["model_id"])
    key = file_key(root, fields.required("artifact_file_path"))
    if fields.truth("presigned"):
        return JSONResponse(await readable(resources, key))
    return await send_file(resources.blobs, key, request)


async def put_of_run(resources: Resources[Settings], request: Request) -> Response:
    """A small file that a page adds to a run."""
    fields = of_query(request.query_params)
    root = await run_root(resources, fields.run_id())
    key = file_key(root, fields.required("path"))
    await resources.blobs.put_stream(key, _at_most(_MAX_PAGE_UPLOAD, _moving(request.stream())))
    return JSONResponse({})


async def send_file(blobs: Blobs, key: str, request: Request) -> Response:
    """The file, the range of it that is asked for, or for HEAD only what it is."""
    if request.method == "HEAD":
        found = await blobs.look(key)
        if found is None:
            raise no_artifact(key)
        return Response(
            headers=_headers(key, found), media_type=media_type(posixpath.basename(key))
        )
    try:
        opened = await blobs.open_blob(key, conditions=await _conditions(blobs, key, request))
    except NotFound as error:
        raise no_artifact(key) from error
    except NotModified:
        return Response(status_code=304, headers={"ETag": request.headers["if-none-match"]})
    except UnmetCondition as error:
        return response(412, "INVALID_STATE", str(error))
    except UnsatisfiableRange as error:
        return response(416, "INVALID_PARAMETER_VALUE", str(error))
    return StreamingResponse(
        opened.chunks,
        status_code=206 if opened.content_range else 200,
        media_type=media_type(posixpath.basename(key)),
        headers=_headers(key, opened),
    )


async def _conditions(blobs: Blobs, key: str, request: Request) -> Conditions:
    headers = request.headers
    asked = single_range(headers.get("range"))
    if asked and (seen := headers.get("if-range")):
        found = await blobs.look(key)
        asked = asked if found is not None and found.etag == seen else None
    return Conditions(
        byte_range=asked,
        if_match=headers.get("if-match"),
        if_none_match=headers.get("if-none-match"),
    )


def _headers(key: str, found: OpenBlob) -> dict[str, str]:
    ranged = {"Content-Range": found.content_range} if found.content_range else {}
    return {
        **attachment_headers(size=found.length, name=posixpath.basename(key)),
        "Accept-Ranges": "bytes",
        "ETag": found.etag,
        "Last-Modified": formatdate(found.modified.timestamp(), usegmt=True),
        **ranged,
    }


def _proxied_key(request: Request) -> str:
    return key_of(file_path(cast("str", request.path_params["path"])))


async def _moving(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, until nothing comes for a minute: an upload that stands still holds memory."""
    while True:
        async with asyncio.timeout(_STILL_SECONDS):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


async def _at_most(limit: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise InvalidInput("Artifact size is too large. Max size is 10MB.", field="body")
        yield chunk
