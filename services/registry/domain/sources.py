"""Where a model version comes from: the source URIs that clients give, read without I/O."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from dataclasses import dataclass
from typing import Final

from headrace.errors import InvalidInput

_LOGGED_MODEL: Final = re.compile(r"^m-[0-9a-f]{32}$")
_ARTIFACTS: Final = "artifacts"
"""Key prefix under which tracking keeps what clients upload."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModelSource:
    """`models:/m-<32 hex>`: a logged model of tracking."""

    model_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionSource:
    """Another version of ours: by number, by alias, or the newest, in a stage or of all.

    `models:/<name>/<version>`, `models:/<name>@<alias>`, `models:/<name>/<stage>` or
    `models:/<name>/latest`.
    """

    name: str
    version: int | None = None
    alias: str | None = None
    stage: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSource:
    """`runs:/<run id>/<path>`: a folder among a run's artifacts, or a model logged under it."""

    run_id: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobSource:
    """Files under a key prefix of our bucket."""

    prefix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSource:
    """A path on the machine of whoever gave it."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignSource:
    """Somewhere we cannot look: the version stays unverified."""

    uri: str


Source = LoggedModelSource | VersionSource | RunSource | BlobSource | LocalSource | ForeignSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What a client says that the source belongs to; None where it says nothing."""

    run_id: str | None = None
    model_id: str | None = None


def parse(uri: str, *, bucket: str) -> Source:
    """What `uri` names. Raises InvalidInput for a path that climbs out of its root."""
    try:
        _refuse_relative(uri)
        parsed = urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise InvalidInput(
            f"Invalid model version source: '{uri}': {error}", field="source"
        ) from error
    path = urllib.parse.unquote(parsed.path).strip("/")
    match parsed.scheme:
        case "models":
            return _model(uri, parsed.netloc, path)
        case "runs":
            return _run(uri, parsed.netloc, path)
        case "file" | "" if parsed.scheme or uri.startswith("/"):
            return LocalSource(path=f"/{path}")
        case "mlflow-artifacts" if not parsed.netloc and path:
            return BlobSource(prefix=f"{_ARTIFACTS}/{path}")
        case "s3" if parsed.netloc == bucket and path:
            return BlobSource(prefix=path)
        case _:
            return ForeignSource(uri=uri)


def check_claims(uri: str, source: Source, claims: Claims) -> None:
    """Raises InvalidInput when a source is not where the client says that it belongs."""
    match source:
        case RunSource(run_id=run_id):
            if claims.model_id:
                raise unclaimed(uri, "model_id")
            if claims.run_id != run_id:
                raise unclaimed(uri, "run_id")
        case LoggedModelSource(model_id=model_id):
            if claims.model_id not in {None, "", model_id}:
                raise unclaimed(uri, "model_id")
        case _:
            return


def unclaimed(uri: str, claim: str) -> InvalidInput:
    """The source is not part of the run or model that was named, or none was."""
    return InvalidInput(
        f"Invalid model version source: '{uri}'. The {claim} request parameter must "
        "identify the resource that contains the source.",
        field="source",
    )


def outside(uri: str, claim: str) -> InvalidInput:
    """A local path that is not among the artifacts of the run or model that was named."""
    thing = claim.removesuffix("_id")
    return InvalidInput(
        f"Invalid model version source: '{uri}'. To use a local path as a model version "
        f"source, the {claim} request parameter has to be specified and the local path has to "
        f"be contained within the artifact directory of the {thing} specified by the {claim}.",
        field="source",
    )


def _not_ours(uri: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid model version source: '{uri}'. Registered model sources must use the "
        "active model registry.",
        field="source",
    )


def _run(uri: str, server: str, path: str) -> Source:
    run_id, _, inside = path.partition("/")
    if server or not inside:
        raise unclaimed(uri, "run_id")
    return RunSource(run_id=run_id, path=inside)


def _model(uri: str, server: str, path: str) -> Source:
    if server or not path:
        raise _not_ours(uri)
    if _LOGGED_MODEL.match(path):
        return LoggedModelSource(model_id=path)
    name, at, alias = path.partition("@")
    if at and "/" not in name:
        return VersionSource(name=name, alias=alias)
    name, _, suffix = path.partition("/")
    if suffix.isdigit() and len(suffix) < 10:
        return VersionSource(name=name, version=int(suffix))
    if suffix.lower() == "latest":
        return VersionSource(name=name)
    if suffix and "/" not in suffix:
        return VersionSource(name=name, stage=suffix)
    return ForeignSource(uri=uri)


def _refuse_relative(uri: str) -> None:
    source = uri
    while (unquoted := urllib.parse.unquote_plus(source)) != source:
        source = unquoted
    path = re.sub(r"/+", "/", urllib.parse.urlsplit(source).path.rstrip("/"))
    climbs = any(part == ".." for part in source.split("/"))
    if climbs or "\x00" in path or (path and posixpath.normpath(path) != path):
        raise InvalidInput(
            f"Invalid model version source: '{uri}'. If supplying a source as an http, https, "
            "local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must "
            "be provided without relative path references present. "
            "Please provide an absolute path.",
            field="source",
        )
