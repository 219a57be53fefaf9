"""What lies in a directory: of a run, of a model, of the proxy's root."""

from __future__ import annotations

import posixpath

from headrace.errors import InvalidInput
from headrace.runtime.blobs import Blobs
from services.tracking.api.artifacts.owners import run_root
from services.tracking.api.call import Call
from services.tracking.api.documents import Document, files_document
from services.tracking.api.fields import Fields
from services.tracking.domain.listing import MAX_ENTRIES, Entry, entries_of
from services.tracking.domain.paths import key_of, path_of_uri, safe_path

_PAGE = 1000


async def list_run(call: Call) -> Document:
    """What lies in a directory of a run's artifacts; paths are relative to the run."""
    root = await run_root(call.resources, call.fields.run_id())
    return await list_below(call, root, directory=call.fields.text("path") or "")


async def list_proxy(call: Call) -> Document:
    """What lies in a directory of the store, by base name.

    The client knows no pages: it gets everything, or an error if that is too much.
    """
    path = safe_path(call.fields.text("path") or "")
    entries, token = await _entries(call.resources.blobs, path, fields=call.fields)
    if token and not call.fields.has("max_results"):
        raise InvalidInput(
            f"'{path}' holds more than {MAX_ENTRIES} entries: read it by pages, with max_results "
            "and page_token",
            field="path",
        )
    return {"files": files_document(entries), **_next(token)}


async def list_below(call: Call, root_uri: str, *, directory: str) -> Document:
    """What lies in a directory below an artifact URI; paths are relative to that URI."""
    relative = safe_path(directory)
    entries, token = await _entries(
        call.resources.blobs, path_of_uri(root_uri, relative), fields=call.fields
    )
    named = ((posixpath.join(relative, name), size) for name, size in entries)
    return {"root_uri": root_uri, "files": files_document(named), **_next(token)}


async def _entries(blobs: Blobs, path: str, *, fields: Fields) -> tuple[list[Entry], str | None]:
    prefix = key_of(f"{path}/" if path else "")
    limit = fields.bounded("max_results", default=MAX_ENTRIES, most=MAX_ENTRIES)
    token = fields.text("page_token") or None
    entries: list[Entry] = []
    while len(entries) < limit:
        page = await blobs.list_directory(
            prefix, token=token, limit=min(_PAGE, limit - len(entries))
        )
        entries += entries_of(
            prefix,
            directories=page.directories,
            files=((blob.key, blob.size) for blob in page.blobs),
        )
        token = page.next_token
        if token is None:
            break
    return sorted(entries, key=lambda entry: entry[0]), token


def _next(token: str | None) -> Document:
    return {"next_page_token": token} if token else {}
