"""Looking up a version's source: tracking says where it lies, the blob store what it is."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any, Final, assert_never

import asyncpg
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from headrace.errors import InvalidInput, NotFound, Refused, Transient
from headrace.events import FileRef, Segment
from headrace.runtime.blobs import BlobInfo, Blobs
from headrace.runtime.db import Connection
from services.registry.domain import sources as uris
from services.registry.domain.manifest import manifest_digest
from services.registry.domain.names import STAGES, canonical_stage
from services.registry.domain.records import Content, Version
from services.registry.domain.search import is_prompt
from services.registry.store import aliases, models, versions

_KEPT: Final = "versions"
"""Key prefix of the files of model versions, each named by its SHA-256."""

_MAX_FILES: Final = 10_000
_PARALLEL: Final = 8
_API: Final = "/api/2.0/mlflow"


class Sources:
    """Finds the files behind a source URI. Raises Transient when tracking or S3 is away."""

    def __init__(
        self, *, blobs: Blobs, tracking: httpx.AsyncClient, pool: asyncpg.Pool, project: str
    ) -> None:
        self._blobs = blobs
        self._pool = pool
        self._project = project
        self._tracking = tracking
        self._hashing = asyncio.Semaphore(_PARALLEL)

    async def resolve(self, uri: str, claims: uris.Claims) -> Content:
        """Location and manifest of `uri`; without a digest where nothing can be looked at.

        Raises InvalidInput for a URI that climbs out of its root or is not part of what it is
        claimed to be part of, NotFound for another version that does not exist.
        """
        source = uris.parse(uri, bucket=self._blobs.bucket)
        uris.check_claims(uri, source, claims)
        match source:
            case uris.LoggedModelSource(model_id=model_id):
                return await self._logged_model(uri, model_id)
            case uris.VersionSource():
                return await self._version(uri, source, claims)
            case uris.RunSource():
                return await self._run(uri, source)
            case uris.BlobSource(prefix=prefix):
                return await self._files(Content(location=uri), prefix)
            case uris.LocalSource(path=path):
                await self._check_local(uri, path, claims)
                return Content(location=uri)
            case uris.ForeignSource():
                return Content(location=uri)
            case other:
                assert_never(other)

    async def check_segment(self, segment: Segment, *, field: str) -> None:
        """Raises InvalidInput when there is no such object, Refused when it is another."""
        try:
            came = await self._digest(segment.uri)
        except NotFound as error:
            raise InvalidInput(f"{field}: {error}", field=field) from error
        if came != (segment.digest, segment.size):
            raise Refused(
                f"{field}: {segment.uri} should have digest {segment.digest} and "
                f"{segment.size} bytes, the object has {came[0]} and {came[1]}"
            )

    async def _logged_model(self, uri: str, model_id: str) -> Content:
        answer = await self._ask(f"/logged-models/{model_id}", {})
        if answer is None:
            return Content(location=uri, logged_model_id=model_id)
        info = answer["model"]["info"]
        found = Content(
            location=info["artifact_uri"],
            run_id=info.get("source_run_id") or None,
            logged_model_id=model_id,
        )
        return await self._at(found)

    async def _version(self, uri: str, source: uris.VersionSource, claims: uris.Claims) -> Content:
        async with self._pool.acquire() as connection:
            version = await self._named_version(uri, connection, source)
            files = await versions.files(connection, version_id=version.id)
        for claim, actual in (
            (claims.run_id, version.run_id),
            (claims.model_id, version.logged_model_id),
        ):
            if claim is not None and claim != (actual or ""):
                raise InvalidInput(
                    f"Invalid model version source: '{uri}'. The run_id and model_id request "
                    "parameters must match the referenced model version.",
                    field="source",
                )
        return Content(
            source=f"models:/{version.model}/{version.version}",
            location=version.location,
            run_id=version.run_id,
            logged_model_id=version.logged_model_id,
            digest=version.digest,
            files=files,
        )

    async def _named_version(
        self, uri: str, connection: Connection, source: uris.VersionSource
    ) -> Version:
        model = await models.get(connection, project=self._project, name=source.name)
        if is_prompt(model.tags):
            raise InvalidInput(
                f"Invalid model version source: '{uri}'. Prompt versions cannot be used as "
                "model version sources.",
                field="source",
            )
        if source.version is not None:
            number: int | None = source.version
        elif source.alias is not None:
            number = await aliases.holder(connection, model=model, alias=source.alias)
        else:
            stages = [canonical_stage(source.stage)] if source.stage else STAGES
            found = await versions.latest(connection, model_ids=[model.id], stages=stages)
            number = max((version.version for version in found), default=None)
        return await versions.get(
            connection, project=self._project, name=source.name, version=number or 0
        )

    async def _check_local(self, uri: str, path: str, claims: uris.Claims) -> None:
        claim = "model_id" if claims.model_id else "run_id"
        if claims.model_id:
            answer = await self._ask(f"/logged-models/{claims.model_id}", {})
            root = answer["model"]["info"]["artifact_uri"] if answer else ""
        else:
            answer = await self._ask("/runs/get", {"run_id": claims.run_id or ""})
            root = answer["run"]["info"]["artifact_uri"] if answer else ""
        parsed = uris.parse(root, bucket=self._blobs.bucket) if root else None
        if not isinstance(parsed, uris.LocalSource) or not f"{path}/".startswith(
            parsed.path.rstrip("/") + "/"
        ):
            raise uris.outside(uri, claim)

    async def _run(self, uri: str, source: uris.RunSource) -> Content:
        answer = await self._ask("/runs/get", {"run_id": source.run_id})
        if answer is None:
            return Content(location=uri, run_id=source.run_id)
        info, outputs = answer["run"]["info"], answer["run"].get("outputs", {})
        root = str(info["artifact_uri"]).rstrip("/")
        found = await self._at(
            Content(location=f"{root}/{source.path}".rstrip("/"), run_id=source.run_id)
        )
        if found.files:
            return found
        for output in reversed(outputs.get("model_outputs", [])):
            model = await self._ask(f"/logged-models/{output['model_id']}", {})
            if model is not None and model["model"]["info"].get("name") == source.path:
                logged = await self._logged_model(uri, output["model_id"])
                return replace(logged, run_id=source.run_id)
        return replace(found, location=uri)

    async def _at(self, content: Content) -> Content:
        """The files at a location that tracking named."""
        source = uris.parse(content.location or "", bucket=self._blobs.bucket)
        if isinstance(source, uris.BlobSource):
            return await self._files(content, source.prefix)
        return content

    async def _files(self, content: Content, prefix: str) -> Content:
        root = prefix.rstrip("/") + "/"
        try:
            listed = await self._blobs.list(root)
            if len(listed) > _MAX_FILES:
                raise InvalidInput(
                    f"source: {len(listed)} files, at most {_MAX_FILES} may be in a version",
                    field="source",
                )
            found = await asyncio.gather(*(self._file(root, blob) for blob in listed))
        except (BotoCoreError, ClientError, OSError) as error:
            raise Transient(f"the blob store does not answer: {error!r}") from error
        if not found:
            return content
        files = tuple(sorted(found, key=lambda file: file.path))
        return replace(content, files=files, digest=manifest_digest(files))

    async def _file(self, root: str, blob: BlobInfo) -> FileRef:
        """The file, kept under its digest: what happens to the artifact later is no concern."""
        digest, size = await self._digest(blob.key)
        kept = f"{_KEPT}/{digest.removeprefix('sha256:')}"
        if not await self._blobs.exists(kept):
            await self._blobs.copy(blob.key, kept)
        return FileRef(
            path=blob.key.removeprefix(root),
            uri=self._blobs.uri(kept),
            digest=digest,
            size=size,
        )

    async def _digest(self, uri_or_key: str) -> tuple[str, int]:
        content = hashlib.sha256()
        size = 0
        async with self._hashing:
            async for chunk in self._blobs.stream(uri_or_key):
                content.update(chunk)
                size += len(chunk)
        return f"sha256:{content.hexdigest()}", size

    async def _ask(self, path: str, parameters: dict[str, str]) -> dict[str, Any] | None:
        """Tracking's answer, None when it does not know what we ask for."""
        try:
            response = await self._tracking.get(_API + path, params=parameters)
        except httpx.HTTPError as error:
            raise Transient(f"tracking does not answer: {error!r}") from error
        if response.status_code in {400, 404}:
            return None
        if response.status_code >= 300:
            raise Transient(f"tracking answered {response.status_code} to {path}")
        answer: dict[str, Any] = response.json()
        return answer
