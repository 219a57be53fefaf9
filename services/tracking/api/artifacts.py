"""Artifacts, streamed between clients and S3: `artifacts/list` and `mlflow-artifacts/*`."""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from headrace.errors import NotFound
from headrace.runtime.blobs import Blobs
from headrace.runtime.service import Resources
from services.tracking.api.call import Call, Endpoint, Gate, RouteTable, guarded
from services.tracking.api.documents import Document, files_document
from services.tracking.domain.errors import NotOffered
from services.tracking.domain.listing import children
from services.tracking.domain.paths import file_path, key_of, path_of_uri, safe_path
from services.tracking.settings import Settings
from services.tracking.store import runs

_TEXTS: Final = """
txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md
rst ipynb MLmodel MLproject
"""
_NO_UPLOAD: Final = "Multipart upload is not supported for the current artifact repository"
_NO_DOWNLOAD: Final = "Multipart download is not supported for the current artifact repository"


async def list_run(call: Call) -> Document:
    """What lies in a directory of a run's artifacts; paths are relative to the run."""
    run_id = call.fields.run_id()
    async with call.resources.pool.acquire() as connection:
        run = await runs.get_run(connection, project=call.project, run_id=run_id)
    files = await list_below(
        call.resources.blobs, run.info.artifact_uri, call.fields.text("path") or ""
    )
    return {"root_uri": run.info.artifact_uri, "files": files}


async def list_proxy(call: Call) -> Document:
    """What lies in a directory of the store, by base name."""
    path = safe_path(call.fields.text("path") or "")
    entries = await _children(call.resources.blobs, path)
    return {"files": files_document(entries)}


async def list_below(blobs: Blobs, root_uri: str, directory: str) -> list[Document]:
    """What lies in a directory below an artifact URI; paths are relative to that URI."""
    relative = safe_path(directory)
    entries = await _children(blobs, path_of_uri(root_uri, relative))
    return files_document((posixpath.join(relative, name), size) for name, size in entries)


async def refuse_upload(call: Call) -> Document:
    """Tell the client to send the file in one piece."""
    _ = call
    raise NotOffered(_NO_UPLOAD)


async def refuse_download(call: Call) -> Document:
    """Tell the client to fetch the file in one piece."""
    _ = call
    raise NotOffered(_NO_DOWNLOAD)


def put(resources: Resources[Settings], gate: Gate) -> Endpoint:
    """Store the body under the path; answered when it is durable, visible when complete."""

    async def serve(request: Request) -> Response:
        async def work() -> Response:
            key = key_of(file_path(_path(request)))
            await resources.blobs.put_stream(key, request.stream())
            return JSONResponse({})

        return await guarded(work, resources, gate, request)

    return serve


def get(resources: Resources[Settings], gate: Gate) -> Endpoint:
    """Stream the file."""

    async def serve(request: Request) -> Response:
        async def work() -> Response:
            path = file_path(_path(request))
            size = await resources.blobs.size(key_of(path))
            if size is None:
                raise NotFound(f"No such artifact: '{path}'")
            name = posixpath.basename(path)
            return StreamingResponse(
                resources.blobs.stream(key_of(path)),
                media_type=_media_type(name),
                headers={
                    "Content-Length": str(size),
                    "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
                    "X-Content-Type-Options": "nosniff",
                },
            )

        return await guarded(work, resources, gate, request)

    return serve


def delete(resources: Resources[Settings], gate: Gate) -> Endpoint:
    """Remove a file, or a directory with all that lies in it."""

    async def serve(request: Request) -> Response:
        async def work() -> Response:
            key = key_of(file_path(_path(request)))
            below = [blob.key for blob in await resources.blobs.list(f"{key}/")]
            for doomed in (key, *below):
                await resources.blobs.delete(doomed)
            return JSONResponse({})

        return await guarded(work, resources, gate, request)

    return serve


async def _children(blobs: Blobs, path: str) -> list[tuple[str, int | None]]:
    prefix = key_of(f"{path}/" if path else "")
    found = await blobs.list(prefix)
    return children((blob.key.removeprefix(prefix), blob.size) for blob in found)


def _path(request: Request) -> str:
    return cast("str", request.path_params["path"])


def _media_type(name: str) -> str:
    ending = posixpath.splitext(name)[1].removeprefix(".") or name
    if ending in _TEXTS.split():
        return "text/plain"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


RUN_ROUTES: Final[RouteTable] = (("GET", "/artifacts/list", list_run),)
PROXY_ROUTES: Final[RouteTable] = (
    ("GET", "/artifacts", list_proxy),
    ("POST", "/mpu/create/{path:path}", refuse_upload),
    ("POST", "/mpu/complete/{path:path}", refuse_upload),
    ("POST", "/mpu/abort/{path:path}", refuse_upload),
    ("POST", "/mpu/create", refuse_upload),
    ("GET", "/presigned/{path:path}", refuse_download),
)
STREAMS: Final[tuple[tuple[str, Callable[[Resources[Settings], Gate], Endpoint]], ...]] = (
    ("PUT", put),
    ("GET", get),
    ("DELETE", delete),
)
