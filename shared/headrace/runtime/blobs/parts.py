"""Uploads whose parts a client sends to the store itself, by signed URLs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from headrace.errors import NotFound
from headrace.runtime.blobs.faults import translated
from headrace.runtime.blobs.model import PartRef, etag_of_parts


class PartUploads:
    """The open uploads of one bucket: nothing of them is visible before they are finished."""

    def __init__(self, *, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def begin(self, key: str) -> str:
        """Open an upload; returns its id."""
        with translated(key):
            created = await self._client.create_multipart_upload(**self._at(key))
        return str(created["UploadId"])

    async def finish(self, key: str, *, upload_id: str, parts: Sequence[PartRef]) -> None:
        """Make the parts one visible blob; done again with the same parts, nothing happens.

        Raises NotFound for an upload that is not open, InvalidInput for parts that are not there.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        numbered = [{"PartNumber": part.number, "ETag": part.etag} for part in ordered]
        try:
            with translated(key):
                await self._client.complete_multipart_upload(
                    **self._at(key), UploadId=upload_id, MultipartUpload={"Parts": numbered}
                )
        except NotFound:
            if await self._etag(key) != etag_of_parts(ordered):
                raise

    async def abort(self, key: str, *, upload_id: str) -> None:
        """Drop an upload and its parts; nothing happens if it is not open."""
        try:
            with translated(key):
                await self._client.abort_multipart_upload(**self._at(key), UploadId=upload_id)
        except NotFound:
            return

    async def drop(self, prefix: str, *, begun_before: datetime) -> int:
        """Drop uploads to a prefix that nobody finished; returns how many."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        with translated(prefix):
            stale = [
                (upload["Key"], upload["UploadId"])
                async for page in pages
                for upload in page.get("Uploads", [])
                if upload["Initiated"] < begun_before
            ]
        for key, upload_id in stale:
            await self.abort(key, upload_id=upload_id)
        return len(stale)

    async def _etag(self, key: str) -> str | None:
        try:
            with translated(key):
                head = await self._client.head_object(**self._at(key))
        except NotFound:
            return None
        return str(head["ETag"]).strip('"')

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": key}
