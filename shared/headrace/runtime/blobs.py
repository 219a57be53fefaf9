"""Blobs in S3: one long-lived client a process; contents are named by their digest.

A key is a path inside the bucket, a URI is `s3://bucket/key`; functions that read take either.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aioboto3
from botocore.config import Config
from botocore.exceptions import ClientError

from headrace.errors import NotFound, Refused

_PART: Final = 8 * 1024 * 1024
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRef:
    """A stored blob: where it is and what it hashes to (`sha256:<hex>`)."""

    uri: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobInfo:
    """A blob as listed: its key and its size in bytes."""

    key: str
    size: int


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Blobs:
    """One bucket."""

    def __init__(self, *, client: Any, bucket: str) -> None:
        self._client = client
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
                    region_name="us-east-1",
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
        await self._client.put_object(Bucket=self.bucket, Key=key, Body=data, **extra)
        return BlobRef(uri=self.uri(key), digest=digest_of(data), size=len(data))

    async def put_file(self, key: str, path: Path) -> BlobRef:
        """Store a file, in parts if it is large."""
        return await self.put_stream(key, _file_chunks(path))

    async def put_stream(self, key: str, chunks: AsyncIterable[bytes]) -> BlobRef:
        """Store a stream with bounded memory: nothing is visible before it is complete."""
        upload = _Upload(self._client, self.bucket, key)
        try:
            async for chunk in chunks:
                await upload.add(chunk)
            return BlobRef(uri=self.uri(key), digest=await upload.complete(), size=upload.size)
        except BaseException:
            await upload.abort()
            raise

    async def copy(self, uri_or_key: str, target: str) -> str:
        """Copy a blob inside the store; returns the URI of the copy. Raises NotFound."""
        source = {"Bucket": self.bucket, "Key": self.key(uri_or_key)}
        try:
            await self._client.copy_object(Bucket=self.bucket, Key=target, CopySource=source)
        except ClientError as error:
            if _is_missing(error):
                raise NotFound(f"no blob {self.uri(source['Key'])}") from error
            raise
        return self.uri(target)

    async def get(self, uri_or_key: str) -> bytes:
        """The whole blob. Raises NotFound."""
        response = await self._open(uri_or_key)
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
        response = await self._open(uri_or_key)
        body = response["Body"]
        async with body:
            async for chunk in body.iter_chunks(_CHUNK):
                yield chunk

    async def size(self, uri_or_key: str) -> int | None:
        """Bytes, or None if there is no such blob."""
        try:
            head = await self._client.head_object(Bucket=self.bucket, Key=self.key(uri_or_key))
        except ClientError as error:
            if _is_missing(error):
                return None
            raise
        return int(head["ContentLength"])

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

    async def delete(self, uri_or_key: str) -> None:
        """Remove a blob; nothing happens if there is none."""
        await self._client.delete_object(Bucket=self.bucket, Key=self.key(uri_or_key))

    async def _open(self, uri_or_key: str) -> dict[str, Any]:
        key = self.key(uri_or_key)
        try:
            response: dict[str, Any] = await self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if _is_missing(error):
                raise NotFound(f"no blob {self.uri(key)}") from error
            raise
        return response


class _Upload:
    """One object being written: small ones in one call, large ones in parts."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self.size = 0

    async def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._buffer += chunk
        self.size += len(chunk)
        while len(self._buffer) >= 2 * _PART:
            await self._part(bytes(self._buffer[:_PART]))
            del self._buffer[:_PART]

    async def complete(self) -> str:
        if self._upload_id is None:
            await self._client.put_object(**self._where, Body=bytes(self._buffer))
        else:
            await self._part(bytes(self._buffer))
            await self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        return f"sha256:{self._hash.hexdigest()}"

    async def abort(self) -> None:
        if self._upload_id is not None:
            await self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id)

    async def _part(self, data: bytes) -> None:
        if self._upload_id is None:
            created = await self._client.create_multipart_upload(**self._where)
            self._upload_id = created["UploadId"]
        number = len(self._parts) + 1
        sent = await self._client.upload_part(
            **self._where, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})


async def _file_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}
