"""The blobs of one bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aioboto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from headrace.errors import NotFound, Refused, Transient
from headrace.runtime.blobs.faults import translated
from headrace.runtime.blobs.model import (
    BlobInfo,
    BlobRef,
    Conditions,
    ListingPage,
    OpenBlob,
    digest_of,
    directories_of,
)
from headrace.runtime.blobs.parts import PartUploads
from headrace.runtime.blobs.signing import REGION
from headrace.runtime.blobs.upload import Upload

_CHUNK: Final = 256 * 1024
_CONNECTIONS: Final = 128
_LARGE_UPLOADS: Final = 8
_PAGE: Final = 1000


class Blobs:
    """One bucket; `uploads` are those whose parts others send."""

    def __init__(self, *, client: Any, bucket: str) -> None:
        self._client = client
        self.uploads = PartUploads(client=client, bucket=bucket)
        self._slots = asyncio.Semaphore(_LARGE_UPLOADS)
        self.bucket = bucket

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, endpoint: str, bucket: str, access_key: str, secret_key: str
    ) -> AsyncIterator[Blobs]:
        """Connect; the client lives as long as the context."""
        async with AsyncExitStack() as stack:
            session = aioboto3.Session()
            client = await stack.enter_async_context(
                session.client(
                    "s3",
                    endpoint_url=endpoint,
                    region_name=REGION,
                    aws_access_key_id=access_key,
                    aws_secret_access_key=secret_key,
                    config=Config(
                        signature_version="s3v4",
                        s3={"addressing_style": "path"},
                        retries={"max_attempts": 4, "mode": "standard"},
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                        connect_timeout=5,
                        read_timeout=60,
                        max_pool_connections=_CONNECTIONS,
                    ),
                )
            )
            yield cls(client=client, bucket=bucket)

    def uri(self, key: str) -> str:
        """The URI of a key."""
        return f"s3://{self.bucket}/{key}"

    def key(self, uri_or_key: str) -> str:
        """The key of a URI in this bucket, or the key itself. Raises NotFound elsewhere."""
        if not uri_or_key.startswith("s3://"):
            return uri_or_key
        bucket, _, key = uri_or_key.removeprefix("s3://").partition("/")
        if bucket != self.bucket:
            raise NotFound(f"{uri_or_key} is not in bucket {self.bucket}")
        return key

    async def ensure_bucket(self) -> None:
        """Create the bucket if it is not there."""
        try:
            await self._client.head_bucket(Bucket=self.bucket)
        except ClientError:
            await self._client.create_bucket(Bucket=self.bucket)

    async def put(self, key: str, data: bytes, *, content_type: str | None = None) -> BlobRef:
        """Store bytes; durable when this returns."""
        extra = {"ContentType": content_type} if content_type else {}
        with translated(self.uri(key)):
            await self._client.put_object(**self._at(key), Body=data, **extra)
        return BlobRef(uri=self.uri(key), digest=digest_of(data), size=len(data))

    async def put_file(self, key: str, path: Path) -> BlobRef:
        """Store a file, in parts if it is large."""
        return await self.put_stream(key, _file_chunks(path))

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobRef:
        """Store a stream with bounded memory: nothing is visible before it is complete."""
        upload = Upload(self._client, self.bucket, key, slots=self._slots)
        try:
            with translated(self.uri(key)):
                async for chunk in chunks:
                    await upload.add(chunk)
                return BlobRef(uri=self.uri(key), digest=await upload.complete(), size=upload.size)
        except BaseException:
            with suppress(ClientError, BotoCoreError, OSError):
                await upload.abort()
            raise
        finally:
            upload.release()

    async def copy(self, uri_or_key: str, target: str) -> str:
        """Copy a blob inside the store; returns the URI of the copy. Raises NotFound."""
        source = self._at(self.key(uri_or_key))
        with translated(self.uri(source["Key"])):
            await self._client.copy_object(**self._at(target), CopySource=source)
        return self.uri(target)

    async def get(self, uri_or_key: str) -> bytes:
        """The whole blob. Raises NotFound."""
        response = await self._open(self.key(uri_or_key))
        async with response["Body"] as body:
            data: bytes = await body.read()
        return data

    async def get_verified(self, uri_or_key: str, digest: str) -> bytes:
        """The whole blob, if it hashes to `digest`. Raises Refused naming both, or NotFound."""
        data = await self.get(uri_or_key)
        came = digest_of(data)
        if came != digest:
            raise Refused(f"{uri_or_key}: expected digest {digest}, the content has {came}")
        return data

    async def stream(self, uri_or_key: str) -> AsyncIterator[bytes]:
        """The blob in chunks. Raises NotFound before the first."""
        async for chunk in (await self.open_blob(uri_or_key)).chunks:
            yield chunk

    async def open_blob(self, uri_or_key: str, *, conditions: Conditions | None = None) -> OpenBlob:
        """The blob, or the range that is asked for.

        Raises NotFound, NotModified, UnmetCondition or UnsatisfiableRange.
        """
        return _opened(await self._open(self.key(uri_or_key), **_asked(conditions)))

    async def look(self, uri_or_key: str) -> OpenBlob | None:
        """What `open_blob` would say of the whole blob, without its bytes; None if not there."""
        try:
            with translated(uri_or_key):
                head = await self._client.head_object(**self._at(self.key(uri_or_key)))
        except NotFound:
            return None
        return _opened(head)

    async def size(self, uri_or_key: str) -> int | None:
        """Bytes, or None if there is no such blob."""
        found = await self.look(uri_or_key)
        return None if found is None else found.length

    async def exists(self, uri_or_key: str) -> bool:
        """Whether the blob is there."""
        return await self.size(uri_or_key) is not None

    async def list(self, prefix: str) -> list[BlobInfo]:
        """All blobs under a prefix, by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        return [
            BlobInfo(key=entry["Key"], size=entry["Size"])
            async for page in pages
            for entry in page.get("Contents", [])
        ]

    async def list_directory(
        self, prefix: str, *, token: str | None = None, limit: int = _PAGE
    ) -> ListingPage:
        """A page of what lies directly under a prefix that ends with a slash.

        What lies deeper costs nothing. `limit` is at most 1000.
        """
        after = {"ContinuationToken": token} if token else {}
        with translated(self.uri(prefix)):
            page = await self._client.list_objects_v2(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/", MaxKeys=limit, **after
            )
        return ListingPage(
            blobs=[
                BlobInfo(key=entry["Key"], size=entry["Size"]) for entry in page.get("Contents", [])
            ],
            directories=[entry["Prefix"] for entry in page.get("CommonPrefixes", [])],
            next_token=page.get("NextContinuationToken") if page.get("IsTruncated") else None,
        )

    async def delete(self, uri_or_key: str) -> None:
        """Remove a blob; nothing happens if there is none."""
        with translated(uri_or_key):
            await self._client.delete_object(**self._at(self.key(uri_or_key)))

    async def delete_below(self, prefix: str) -> int:
        """Remove all blobs under a prefix that ends with a slash, a page at a time.

        Returns how many. Stopped half-way, it can be called again. Raises Transient if the store
        keeps some.
        """
        removed = 0
        while True:
            with translated(self.uri(prefix)):
                page = await self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
            keys = [entry["Key"] for entry in page.get("Contents", [])]
            if not keys:
                return removed
            await self._delete_all(keys, under=prefix)
            # SeaweedFS goes on listing a directory for a while after its last file.
            await self._delete_all(directories_of(keys, under=prefix), under=prefix)
            removed += len(keys)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": key}

    async def _delete_all(self, keys: Sequence[str], *, under: str) -> None:
        doomed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with translated(self.uri(under)):
            answer = await self._client.delete_objects(Bucket=self.bucket, Delete=doomed)
        if refused := answer.get("Errors"):
            raise Transient(f"{len(refused)} blobs under {self.uri(under)} were not deleted")

    async def _open(self, key: str, **asked: str) -> dict[str, Any]:
        with translated(self.uri(key)):
            response: dict[str, Any] = await self._client.get_object(**self._at(key), **asked)
        return response


def _opened(response: dict[str, Any]) -> OpenBlob:
    return OpenBlob(
        length=int(response["ContentLength"]),
        etag=str(response["ETag"]),
        modified=response["LastModified"],
        content_range=response.get("ContentRange"),
        chunks=_chunks_of(response.get("Body")),
    )


async def _chunks_of(body: Any) -> AsyncIterator[bytes]:
    if body is None:
        return
    async with body:
        async for chunk in body.iter_chunks(_CHUNK):
            yield chunk


def _asked(conditions: Conditions | None) -> dict[str, str]:
    if conditions is None:
        return {}
    asked = {
        "Range": conditions.byte_range,
        "IfMatch": conditions.if_match,
        "IfNoneMatch": conditions.if_none_match,
    }
    return {name: value for name, value in asked.items() if value is not None}


async def _file_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
