"""A small synchronous client of the platform's REST API, for steps and scripts.

Errors of the platform come back as the exceptions of `headrace.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast
from urllib.parse import quote, urlencode

import httpx

from headrace.errors import Conflict, HeadraceError, InvalidInput, NotFound, Refused, Transient
from headrace.events.registry import GateEvidence

_ATTEMPTS: Final = 5
_WAIT_SECONDS: Final = 0.3
_EXISTS: Final = "already exists"
_ERRORS: Final[Mapping[int, type[HeadraceError]]] = {
    400: InvalidInput,
    403: Refused,
    404: NotFound,
    409: Conflict,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What became of a request to promote: decided at once, or waiting for a person."""

    request_id: str
    outcome: Literal["approved", "waiting", "rejected"]
    reason: str = ""


class Platform:
    """The platform behind one front door; `headers` go with every call.

    Calls that the platform cannot answer now (503, 429, no connection) are tried again for some
    seconds, then raise Transient.
    """

    def __init__(
        self, *, url: str, headers: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> None:
        self._url = url
        self._http = httpx.Client(
            base_url=url,
            headers=dict(headers or {}),
            timeout=timeout,
            trust_env=False,
            verify=url.startswith("https:"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def dataset_version(self, name: str, version: int | None = None) -> dict[str, Any]:
        """`{dataset, version, digest, rows, labelled_through, segments}`; None: the newest."""
        wanted = "latest" if version is None else str(version)
        return self._json("GET", f"/api/registry/v1/datasets/{_part(name)}/versions/{wanted}")

    def create_dataset_version(
        self,
        name: str,
        *,
        segments: Sequence[Mapping[str, Any]],
        labelled_through: str,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Register uploaded segments as a new version: `{dataset, version, digest, rows}`."""
        body = {
            "origin": "upload",
            "model": model,
            "segments": list(segments),
            "labelled_through": labelled_through,
        }
        return self._json("POST", f"/api/registry/v1/datasets/{_part(name)}/versions", body)

    def champion(self, model: str) -> dict[str, Any] | None:
        """`{version, digest, files: [{path, uri, digest, size}], ...}`, None if there is none."""
        try:
            return self._json("GET", f"/api/registry/v1/models/{_part(model)}/champion")
        except NotFound:
            return None

    def model_version(self, model: str, version: int) -> dict[str, Any]:
        """`{version, digest, files, tags, ...}`. Raises NotFound."""
        return self._json("GET", f"/api/registry/v1/models/{_part(model)}/versions/{version}")

    def request_promotion(
        self,
        model: str,
        version: int,
        *,
        requested_by: str,
        evidence: GateEvidence | None,
        alias: str = "champion",
        comment: str = "",
    ) -> Promotion:
        """Ask that a version take an alias; the gate judges the evidence."""
        body = {
            "alias": alias,
            "requested_by": requested_by,
            "evidence": None if evidence is None else evidence.model_dump(mode="json"),
            "comment": comment,
        }
        path = f"/api/registry/v1/models/{_part(model)}/versions/{version}/promotion-requests"
        answer = self._json("POST", path, body)
        return Promotion(
            request_id=answer["request_id"],
            outcome=answer["outcome"],
            reason=answer.get("reason") or "",
        )

    def promotion_requests(
        self, *, model: str | None = None, state: str | None = None
    ) -> list[dict[str, Any]]:
        """Promotion requests, e.g. those of a model that are `waiting`."""
        given = {"model": model, "state": state}
        query = urlencode({name: text for name, text in given.items() if text is not None})
        found = self._json("GET", f"/api/registry/v1/promotion-requests?{query}")
        return cast("list[dict[str, Any]]", found["promotion_requests"])

    def approve(self, request_id: str, *, approver: str, comment: str = "") -> dict[str, Any]:
        """Approve a waiting promotion. Raises Refused for a request of one's own."""
        path = f"/api/registry/v1/promotion-requests/{_part(request_id)}/approve"
        return self._json("POST", path, {"approver": approver, "comment": comment})

    def put_promotion_policy(self, model: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """How promotions of a model are decided: `{auto_promote, margins, min_rows}`."""
        path = f"/api/registry/v1/models/{_part(model)}/policy"
        return self._json("PUT", path, dict(policy))

    def copy_version(self, source: str, *, to: str) -> int:
        """Register a version (`models:/name/version`) under a new model name, files and all."""
        mlflow = "/api/2.0/mlflow"
        self._json("POST", f"{mlflow}/registered-models/create", {"name": to})
        made = self._json("POST", f"{mlflow}/model-versions/create", {"name": to, "source": source})
        return int(made["model_version"]["version"])

    def ensure_model(self, name: str) -> None:
        """Have a registered model of this name."""
        mlflow = "/api/2.0/mlflow/registered-models"
        try:
            self._json("GET", f"{mlflow}/get?{urlencode({'name': name})}")
        except NotFound:
            self._create_model(name)

    def _create_model(self, name: str) -> None:
        try:
            self._json("POST", "/api/2.0/mlflow/registered-models/create", {"name": name})
        except InvalidInput as error:
            if _EXISTS not in str(error):
                raise

    def register_version(
        self, model: str, *, source: str, tags: Mapping[str, str], idempotency_key: str
    ) -> int:
        """A version of the files below a URI; the same key again gives the same version."""
        named = {**tags, "headrace.idempotency_key": idempotency_key}
        body = {
            "name": model,
            "source": source,
            "tags": [{"key": key, "value": value} for key, value in named.items()],
        }
        made = self._json("POST", "/api/2.0/mlflow/model-versions/create", body)
        return int(made["model_version"]["version"])

    def served_models(self) -> list[dict[str, Any]]:
        """What serving answers with, model by model."""
        return cast("list[dict[str, Any]]", self._json("GET", "/api/serving/v1/models")["models"])

    def start_run(
        self,
        pipeline: str,
        parameters: Mapping[str, Any],
        *,
        requested_by: str,
        model: str | None = None,
        pipeline_run_id: str | None = None,
    ) -> dict[str, Any]:
        """Start a pipeline run; the same `pipeline_run_id` twice is one run."""
        body = {
            "pipeline": pipeline,
            "parameters": dict(parameters),
            "model": model,
            "requested_by": requested_by,
            "pipeline_run_id": pipeline_run_id,
        }
        return self._json("POST", "/api/orchestrator/v1/runs", body)

    def run(self, pipeline_run_id: str) -> dict[str, Any]:
        """A pipeline run with its steps. Raises NotFound."""
        return self._json("GET", f"/api/orchestrator/v1/runs/{_part(pipeline_run_id)}")

    def put_policy(self, model: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Set the retrain policy of a model: `{pipeline, cooldown_days, enabled, parameters}`."""
        return self._json("PUT", f"/api/orchestrator/v1/policies/{_part(model)}", dict(policy))

    def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        response = self._answered(method, path, body)
        if response.is_success:
            return cast("dict[str, Any]", response.json())
        raise _error_of(response, f"{method} {path}")

    def _answered(self, method: str, path: str, body: object) -> httpx.Response:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    raise Transient(f"{method} {self._url}{path}: {error!r}") from error
            else:
                if response.status_code not in (429, 502, 503, 504) or attempt == _ATTEMPTS:
                    return response
            time.sleep(_WAIT_SECONDS * attempt)
        raise AssertionError("unreachable")


def _error_of(response: httpx.Response, what: str) -> HeadraceError:
    try:
        document = response.json()
        message = f"{what}: {document['message']}"
    except (ValueError, KeyError, TypeError):
        document, message = {}, f"{what}: HTTP {response.status_code} {response.text[:200]}"
    kind = _ERRORS.get(response.status_code, Transient)
    if kind is InvalidInput:
        return InvalidInput(message, field=document.get("field"))
    return kind(message)


def _part(text: str) -> str:
    return quote(text, safe="")
