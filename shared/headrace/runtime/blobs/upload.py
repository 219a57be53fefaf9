"""One object being written, with bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final

from headrace.errors import InvalidInput, Transient

PART: Final = 8 * 1024 * 1024
MAX_PARTS: Final = 10_000
_FREE: Final = 256 * 1024
_SLOT_SECONDS: Final = 30


class Upload:
    """Small objects go in one call, large ones in parts; the digest is of all bytes.

    What has more than a quarter of a megabyte takes one of `slots` before it holds more, so that
    the memory of all uploads together is bounded; who waits, reads no further.
    """

    def __init__(self, client: Any, bucket: str, key: str, *, slots: asyncio.Semaphore) -> None:
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self._slots = slots
        self._has_slot = False
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self.size = 0

    async def add(self, chunk: bytes) -> None:
        """Take some bytes. Raises Transient if too many large uploads are in hand."""
        self._hash.update(chunk)
        self._buffer += chunk
        self.size += len(chunk)
        if len(self._buffer) > _FREE and not self._has_slot:
            await self._take_slot()
        while len(self._buffer) > PART:
            await self._part(self._taken(PART))

    async def complete(self) -> str:
        """Make the object visible; returns its digest."""
        if self._upload_id is None:
            await self._client.put_object(**self._where, Body=self._taken(len(self._buffer)))
        else:
            await self._part(self._taken(len(self._buffer)))
            await self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        return f"sha256:{self._hash.hexdigest()}"

    async def abort(self) -> None:
        """Forget what was sent."""
        if self._upload_id is not None:
            await self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id)

    def release(self) -> None:
        """Give the slot back, whatever happened."""
        if self._has_slot:
            self._slots.release()
            self._has_slot = False

    async def _take_slot(self) -> None:
        try:
            await asyncio.wait_for(self._slots.acquire(), _SLOT_SECONDS)
        except TimeoutError as error:
            raise Transient("too many large uploads are in hand") from error
        self._has_slot = True

    def _taken(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[:size]
        return taken

    async def _part(self, data: bytes) -> None:
        number = len(self._parts) + 1
        if number > MAX_PARTS:
            raise InvalidInput(
                f"the upload is larger than {MAX_PARTS * PART} bytes: send it in parts of its own",
                field="body",
            )
        if self._upload_id is None:
            created = await self._client.create_multipart_upload(**self._where)
            self._upload_id = created["UploadId"]
        sent = await self._client.upload_part(
            **self._where, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
