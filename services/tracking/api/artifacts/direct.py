"""The way past this server: signed URLs by which clients send and fetch files at S3 itself."""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.blobs import PartRef
from headrace.runtime.service import Resources
from services.tracking.api.artifacts.owners import file_key, model_root, no_artifact, run_root
from services.tracking.api.call import Call
from services.tracking.api.documents import Document
from services.tracking.api.fields import Fields
from services.tracking.domain.errors import NotOffered
from services.tracking.domain.paths import ROOT, file_path, key_of, uploaded_path
from services.tracking.domain.uploads import MAX_PARTS, check_part_number, check_upload_id
from services.tracking.domain.values import missing
from services.tracking.settings import Settings

_UPLOAD_SECONDS: Final = 12 * 3600
"""All parts are signed at the start, so the last must still be valid when a long upload ends."""
_WRITE_SECONDS: Final = 900
_MAX_SECONDS: Final = 604_800


async def create_upload(call: Call) -> Document:
    """Open an upload in parts; the answer says where each part goes."""
    _offered(call.resources, "Multipart upload")
    key = _upload_key(call)
    parts = call.fields.integer("num_parts") or 0
    if not 0 <= parts <= MAX_PARTS:
        raise InvalidInput(
            f"Invalid value {parts} for parameter 'num_parts' supplied. It must be at most "
            f"{MAX_PARTS}",
            field="num_parts",
        )
    upload_id = await call.resources.blobs.uploads.begin(key)
    credentials = await asyncio.to_thread(_credentials, call, key, upload_id, parts)
    return {"upload_id": upload_id, "credentials": credentials}


async def complete_upload(call: Call) -> Document:
    """Make the parts that were sent one visible file; without parts it is an empty one."""
    _offered(call.resources, "Multipart upload")
    key, upload_id = _upload_key(call), check_upload_id(call.fields.required("upload_id"))
    if not call.fields.has("parts"):
        raise missing("parts")
    parts = [_part(part) for part in call.fields.each("parts")]
    blobs = call.resources.blobs
    try:
        if parts:
            await blobs.uploads.finish(key, upload_id=upload_id, parts=parts)
            return {}
    except NotFound as error:
        raise NotFound(f"No upload of '{key.removeprefix(ROOT)}' is open under this id.") from error
    await blobs.put(key, b"")
    await blobs.uploads.abort(key, upload_id=upload_id)
    return {}


async def abort_upload(call: Call) -> Document:
    """Drop the parts that were sent."""
    _offered(call.resources, "Multipart upload")
    upload_id = check_upload_id(call.fields.required("upload_id"))
    await call.resources.blobs.uploads.abort(_upload_key(call), upload_id=upload_id)
    return {}


async def presign_proxied(call: Call) -> Document:
    """Where to read a file of the store, in ranges if wanted."""
    return await readable(call.resources, key_of(file_path(call.path["path"])))


async def readable(resources: Resources[Settings], key: str) -> Document:
    """Where to read a file, and how large it is. Raises NotFound, NotOffered."""
    _offered(resources, "Multipart download")
    url, size = await _signed(resources, key, seconds=resources.settings.presigned_seconds)
    return {"url": url, "headers": {}, "file_size": size}


async def presign_write(call: Call) -> Document:
    """Where to PUT one file of a run or of a logged model."""
    _offered(call.resources, "Presigned upload")
    key = file_key(await _root(call), call.fields.required("path"))
    seconds = _expiration(call.fields, default=_WRITE_SECONDS)
    return {"presigned_url": call.resources.settings.signer.write(key, seconds=seconds)}


async def presign_read(call: Call) -> Document:
    """Where to read one file of a run or of a logged model."""
    _offered(call.resources, "Presigned download")
    key = file_key(await _root(call), call.fields.required("path"))
    seconds = _expiration(call.fields, default=call.resources.settings.presigned_seconds)
    url, size = await _signed(call.resources, key, seconds=seconds)
    return {"presigned_url": url, "file_size": size}


async def _signed(resources: Resources[Settings], key: str, *, seconds: int) -> tuple[str, int]:
    size = await resources.blobs.size(key)
    if size is None:
        raise no_artifact(key)
    return resources.settings.signer.read(key, seconds=seconds), size


async def _root(call: Call) -> str:
    run_id, model_id = call.fields.text("run_id"), call.fields.text("model_id")
    if bool(run_id) == bool(model_id):
        raise InvalidInput("Exactly one of run_id and model_id must be provided.", field="run_id")
    if run_id:
        return await run_root(call.resources, run_id)
    return await model_root(call.resources, model_id or "")


def _upload_key(call: Call) -> str:
    directory = call.path.get("path", "")
    return key_of(uploaded_path(directory, call.fields.required("path")))


def _credentials(call: Call, key: str, upload_id: str, parts: int) -> list[Document]:
    signer = call.resources.settings.signer
    return [
        {
            "url": signer.part(key, upload_id=upload_id, number=number, seconds=_UPLOAD_SECONDS),
            "part_number": number,
            "headers": {},
        }
        for number in range(1, parts + 1)
    ]


def _part(fields: Fields) -> PartRef:
    number = fields.integer("part_number")
    if number is None:
        raise missing("parts.part_number")
    return PartRef(number=check_part_number(number), etag=fields.required("etag"))


def _expiration(fields: Fields, *, default: int) -> int:
    seconds = fields.integer("expiration")
    if seconds is None:
        return default
    if not 1 <= seconds <= _MAX_SECONDS:
        raise InvalidInput(
            f"expiration must be between 1 and {_MAX_SECONDS} seconds (got {seconds}).",
            field="expiration",
        )
    return seconds


def _offered(resources: Resources[Settings], what: str) -> None:
    if not resources.settings.direct_transfer:
        raise NotOffered(f"{what} is not supported for the current artifact repository")
