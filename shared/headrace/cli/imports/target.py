"""The platform as importers see it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import orjson

from headrace.cli.imports.sources import Artifact, Unreadable
from headrace.cli.imports.web import patiently, refusal

_IMPORTS: Final = "/api/tracking/v1/imports"
_MLFLOW: Final = "/api/2.0/mlflow"
_FILES: Final = "/api/2.0/mlflow-artifacts/artifacts"
_SCHEME: Final = "mlflow-artifacts:/"
Document = dict[str, Any]


class Target:
    """The platform behind one front door; may be used from several threads."""

    def __init__(self, url: str, *, connections: int) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(120, connect=10),
            limits=httpx.Limits(max_connections=connections),
        )

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def greet(self) -> None:
        """Raises Unreachable soon if nothing is there, before anything is read."""
        what = f"the platform at {self.url}"
        patiently(what, lambda: self._http.get("/version"), attempts=2)

    def put(self, kind: str, document: Mapping[str, Any]) -> Document:
        """Send an experiment, a part of a run or a model. Raises Unreadable if it is refused."""
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        return self._asked("POST", f"{_IMPORTS}/{kind}", body)

    def known(self, kind: str, fingerprints: Mapping[str, str]) -> set[str]:
        """Ids of what is here already as the source has it."""
        asked = [{"id": one, "fingerprint": mark} for one, mark in fingerprints.items()]
        found = self._asked("POST", f"{_IMPORTS}/known", orjson.dumps({kind: asked}))
        return set(found[kind])

    def ask(self, method: str, path: str, document: Mapping[str, Any]) -> Document:
        """One call of MLflow's API. Raises Unreadable if it is refused."""
        return self._asked(method, f"{_MLFLOW}/{path}", orjson.dumps(document))

    def find(self, path: str, **query: str) -> Document | None:
        """What there is, None for nothing. Raises Unreadable if the question is refused."""
        answer = patiently(
            f"the platform at {self.url}",
            lambda: self._http.get(f"{_MLFLOW}/{path}", params=query),
        )
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.is_error:
            raise refusal(answer, "refused")
        return cast("Document", answer.json())

    def sizes(self, artifact_uri: str) -> dict[str, int]:
        """Files that are there already below an artifact URI: path and size in bytes."""
        root = _path_of(artifact_uri)
        sizes: dict[str, int] = {}
        directories = [""]
        while directories:
            directory = directories.pop()
            place = posixpath.join(root, directory)
            listed = self._asked("GET", f"{_FILES}?path={quote(place, safe='')}")
            for entry in listed.get("files", ()):
                path = posixpath.join(directory, entry["path"])
                if entry.get("is_dir"):
                    directories.append(path)
                else:
                    sizes[path] = int(entry.get("file_size", 0))
        return sizes

    def upload(self, artifact_uri: str, artifact: Artifact) -> None:
        """Store a file. Raises Unreadable if it is refused."""
        path = quote(posixpath.join(_path_of(artifact_uri), artifact.path))
        answer = patiently(
            f"the platform at {self.url}",
            lambda: self._http.put(f"{_FILES}/{path}", content=artifact.read()),
        )
        if answer.is_error:
            raise refusal(answer, f"file {artifact.path}")

    def _asked(self, method: str, path: str, body: bytes | None = None) -> Document:
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = patiently(
            f"the platform at {self.url}",
            lambda: self._http.request(method, path, content=body, headers=headers),
        )
        if answer.is_error:
            raise refusal(answer, "refused")
        return cast("Document", answer.json())


def _path_of(artifact_uri: str) -> str:
    if not artifact_uri.startswith(_SCHEME):
        raise Unreadable(f"files go to {artifact_uri}, which this command does not write to")
    return artifact_uri.removeprefix(_SCHEME).lstrip("/")
