"""An MLflow server over its REST API, from 2.0 on."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from headrace.cli.imports.local_files import SERVED
from headrace.cli.imports.mlflow_documents import (
    experiment_of,
    model_of,
    registered_model_of,
    run_of,
    series_of_points,
)
from headrace.cli.imports.registered import RegisteredModel
from headrace.cli.imports.sources import (
    Artifact,
    Broken,
    Experiment,
    Model,
    Run,
    Series,
    Unreachable,
    Unreadable,
)
from headrace.cli.imports.web import patiently, refusal

_API: Final = "/api/2.0/mlflow"
_PROXY: Final = "/api/2.0/mlflow-artifacts/artifacts"
_PAGE: Final = 200
_HISTORY_PAGE: Final = 25_000
_MODELS_PAGE: Final = 50
Document = dict[str, Any]


class MlflowServer:
    """A source; credentials are taken from where MLflow's own client takes them."""

    def __init__(self, url: str, *, connections: int) -> None:
        parts = urlsplit(url)
        self._place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=httpx.Timeout(120, connect=10),
            limits=httpx.Limits(max_connections=connections),
            headers=_credentials(os.environ),
            auth=_login(os.environ),
            follow_redirects=True,
        )

    @property
    def label(self) -> str:
        """Kind and address, without credentials."""
        return f"mlflow-server:{self._place}"

    def experiments(self) -> Iterator[Experiment]:
        """All experiments, the oldest first."""
        body = {"view_type": "ALL", "max_results": 1000, "order_by": ["experiment_id ASC"]}
        for found in self._pages("experiments/search", "experiments", body):
            yield experiment_of(found)

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """All runs of an experiment."""
        body = {
            "experiment_ids": [experiment.source_id],
            "run_view_type": "ALL",
            "max_results": _PAGE,
            "order_by": ["attributes.start_time ASC"],
        }
        for found in self._pages("runs/search", "runs", body):
            yield run_of(found)

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """Active logged models; none if the server is older than they are."""
        body = {"experiment_ids": [experiment.source_id], "max_results": _MODELS_PAGE}
        if not self._offers("logged-models/search", {**body, "max_results": 1}):
            return
        for found in self._pages("logged-models/search", "models", body):
            yield model_of(found)

    def whole(self, run: Run) -> Run:
        """With the models that it used: MLflow's search leaves them out."""
        query = {"run_id": run.run_id, "run_uuid": run.run_id}
        return run_of(self._asked("GET", f"{_API}/runs/get", query=query)["run"])

    def series(self, run: Run) -> Iterator[Series]:
        """The history of every metric that the run has, in pages."""
        for key in json.loads(run.state):
            query = {"run_id": run.run_id, "run_uuid": run.run_id, "metric_key": key}
            for points in self._history_pages(query):
                yield series_of_points(key, points)

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """Files through the server, wherever it keeps them."""
        directories = [""]
        while directories:
            directory = directories.pop()
            for entry in self._listed(owner, directory):
                path = str(entry["path"])
                if entry.get("is_dir"):
                    directories.append(path)
                else:
                    size = int(entry.get("file_size") or 0)
                    yield Artifact(path=path, size=size, read=partial(self._read, owner, path))

    def registered_models(self) -> Iterator[RegisteredModel]:
        """All registered models with their versions in order; prompts stay behind."""
        for found in self._found("registered-models/search", "registered_models", max_results=100):
            # Searches answer no aliases of old models, and no versions but the latest.
            query = {"name": found["name"]}
            model = self._asked("GET", f"{_API}/registered-models/get", query=query)
            quoted = found["name"].replace("'", "''")
            versions = self._found(
                "model-versions/search", "model_versions", filter=f"name = '{quoted}'"
            )
            yield registered_model_of(model["registered_model"], versions)

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def _listed(self, owner: Run | Model, directory: str) -> list[Document]:
        """What lies in a directory; paths are relative to the run or model."""
        if owner.artifact_uri.startswith(f"{SERVED}/"):
            place = posixpath.join(_served_path(owner.artifact_uri), directory)
            listed = self._asked("GET", f"{_PROXY}?path={quote(place, safe='')}")
            return [
                {**entry, "path": posixpath.join(directory, posixpath.basename(entry["path"]))}
                for entry in listed.get("files", ())
            ]
        if isinstance(owner, Model):
            path = f"{_API}/logged-models/{owner.model_id}/artifacts/directories"
            query = f"artifact_directory_path={quote(directory, safe='')}"
        else:
            path = f"{_API}/artifacts/list"
            query = (
                f"run_id={owner.run_id}&run_uuid={owner.run_id}&path={quote(directory, safe='')}"
            )
        files: list[Document] = self._asked("GET", f"{path}?{query}").get("files", [])
        return files

    def _read(self, owner: Run | Model, path: str) -> Iterator[bytes]:
        if owner.artifact_uri.startswith(f"{SERVED}/"):
            place = quote(posixpath.join(_served_path(owner.artifact_uri), path))
            url = f"{_PROXY}/{place}"
        elif isinstance(owner, Model):
            files = f"/ajax-api/2.0/mlflow/logged-models/{owner.model_id}/artifacts/files"
            url = f"{files}?artifact_file_path={quote(path, safe='')}"
        else:
            given = f"run_id={owner.run_id}&run_uuid={owner.run_id}"
            url = f"/get-artifact?{given}&path={quote(path, safe='')}"
        try:
            with self._http.stream("GET", url) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer, f"reading {path}")
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise Unreadable(f"reading {path}: {error!r}") from error

    def _history_pages(self, query: Mapping[str, str]) -> Iterator[list[Document]]:
        token = ""
        while True:
            page = {**query, "max_results": str(_HISTORY_PAGE)}
            if token:
                page["page_token"] = token
            found = self._asked("GET", f"{_API}/metrics/get-history", query=page)
            if found.get("metrics"):
                yield found["metrics"]
            token = found.get("next_page_token") or ""
            if not token:
                return

    def _pages(self, path: str, member: str, body: Mapping[str, Any]) -> Iterator[Document]:
        token = ""
        while True:
            page = {**body, "page_token": token} if token else dict(body)
            found = self._asked("POST", f"{_API}/{path}", document=page)
            yield from found.get(member, ())
            token = found.get("next_page_token") or ""
            if not token:
                return

    def _found(self, path: str, member: str, **query: str | int) -> Iterator[Document]:
        """All pages of a search that is a GET; nothing if the server has no such search."""
        token = ""
        while True:
            page = {name: str(value) for name, value in query.items()}
            if token:
                page["page_token"] = token
            found = self._asked("GET", f"{_API}/{path}", query=page)
            yield from found.get(member, ())
            token = found.get("next_page_token") or ""
            if not token:
                return

    def _offers(self, path: str, body: Mapping[str, Any]) -> bool:
        answer = self._answered("POST", f"{_API}/{path}", document=body)
        return answer.status_code not in (404, 405, 501)

    def _asked(
        self,
        method: str,
        path: str,
        *,
        document: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Document:
        answer = self._answered(method, path, document=document, query=query)
        if answer.status_code in (401, 403):
            raise Unreachable(f"{self._place} refuses us (HTTP {answer.status_code})")
        if answer.is_error:
            raise refusal(answer, path.partition("?")[0])
        try:
            found = answer.json()
        except ValueError as error:
            raise Unreadable(f"{self._place}{path}: not an answer of MLflow") from error
        if not isinstance(found, dict):
            raise Unreadable(f"{self._place}{path}: not an answer of MLflow")
        return found

    def _answered(
        self,
        method: str,
        path: str,
        *,
        document: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        if query:
            path = f"{path}?{httpx.QueryParams(query)}"
        return patiently(
            f"the MLflow server at {self._place}",
            lambda: self._http.request(method, path, json=document),
        )


def _served_path(uri: str) -> str:
    """The path at the artifact proxy, whether or not the URI names a host."""
    return urlsplit(uri).path.lstrip("/")


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _login(environment: Mapping[str, str]) -> tuple[str, str] | None:
    name = environment.get("MLFLOW_TRACKING_USERNAME")
    return (name, environment.get("MLFLOW_TRACKING_PASSWORD", "")) if name else None
