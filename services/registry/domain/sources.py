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
    """`models:/<name>/<version>` or `models:/<name>@<alias>`: another version of ours."""

    name: str
    version: int | None = None
    alias: str | None = None


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
class ForeignSource:
    """Somewhere we cannot look: the version stays unverified."""

    uri: str


Source = LoggedModelSource | VersionSource | RunSource | BlobSource | ForeignSource


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
        case "models" if not parsed.netloc:
            return _model(uri, path)
        case "runs" if not parsed.netloc and "/" in path:
            run_id, _, inside = path.partition("/")
            return RunSource(run_id=run_id, path=inside)
        case "mlflow-artifacts" if not parsed.netloc and path:
            return BlobSource(prefix=f"{_ARTIFACTS}/{path}")
        case "s3" if parsed.netloc == bucket and path:
            return BlobSource(prefix=path)
        case _:
            return ForeignSource(uri=uri)


def _model(uri: str, path: str) -> Source:
    if _LOGGED_MODEL.match(path):
        return LoggedModelSource(model_id=path)
    name, at, alias = path.partition("@")
    if at and "/" not in name:
        return VersionSource(name=name, alias=alias)
    name, _, version = path.partition("/")
    if version.isdigit() and len(version) < 10:
        return VersionSource(name=name, version=int(version))
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
