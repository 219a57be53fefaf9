"""What an operator of the platform does around the demo: datasets, pipelines, policies, approval.

All of it goes through the front door, with the calls that anyone can make.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from headrace.errors import Permanent, Transient


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that a model's `champion` alias points to."""

    model: str
    version: int


class Platform:
    """The REST API of a running platform."""

    def __init__(self, front: str) -> None:
        self._client = httpx.AsyncClient(base_url=front, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def add_dataset_version(self, name: str, document: Mapping[str, Any]) -> int:
        """Make a dataset version of uploaded segments; returns its number."""
        made = await self._call("POST", f"/api/registry/v1/datasets/{name}/versions", document)
        return int(made["version"])

    async def dataset_version(self, name: str, version: int | str = "latest") -> dict[str, Any]:
        """A dataset version with its segments."""
        return await self._call("GET", f"/api/registry/v1/datasets/{name}/versions/{version}")

    async def start_run(self, *, pipeline: str, model: str, parameters: Mapping[str, Any]) -> str:
        """Start a pipeline; returns the id of the run."""
        document = {
            "pipeline": pipeline,
            "model": model,
            "parameters": parameters,
            "requested_by": "demo-operator",
        }
        run = await self._call("POST", "/api/orchestrator/v1/runs", document)
        return str(run["pipeline_run_id"])

    async def finished_run(self, run_id: str, *, seconds: float) -> dict[str, Any]:
        """The run once it succeeded. Raises Permanent with its error if it did not."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            run = await self._call("GET", f"/api/orchestrator/v1/runs/{run_id}")
            if run["state"] == "succeeded":
                return run
            if run["state"] in {"failed", "cancelled"}:
                raise Permanent(f"pipeline run {run_id} {run['state']}: {run.get('error')}")
            await asyncio.sleep(0.2)
        raise Transient(f"pipeline run {run_id} did not finish within {seconds:.0f} s")

    async def copy_version(self, source: str, *, to: str) -> int:
        """Register a version (`models:/name/version`) under another name, files and all."""
        await self._call("POST", "/api/2.0/mlflow/registered-models/create", {"name": to})
        made = await self._call(
            "POST", "/api/2.0/mlflow/model-versions/create", {"name": to, "source": source}
        )
        return int(made["model_version"]["version"])

    async def request_promotion(self, model: str, version: int) -> None:
        """Ask that a version become champion."""
        path = f"/api/registry/v1/models/{model}/versions/{version}/promotion-requests"
        await self._call("POST", path, {"requested_by": "demo-operator"})

    async def set_promotion_policy(self, model: str, document: Mapping[str, Any]) -> None:
        """Whether promotions of a model pass by themselves, and with which margins."""
        await self._call("PUT", f"/api/registry/v1/models/{model}/policy", document)

    async def set_retrain_policy(self, model: str, document: Mapping[str, Any]) -> None:
        """What drift of a model starts."""
        await self._call("PUT", f"/api/orchestrator/v1/policies/{model}", document)

    async def approve_waiting(self, model: str, *, approver: str, comment: str) -> int:
        """Approve the promotion request of a model that waits; returns the version."""
        found = await self._call(
            "GET", "/api/registry/v1/promotion-requests", model=model, state="waiting"
        )
        (request,) = found["promotion_requests"]
        await self._call(
            "POST",
            f"/api/registry/v1/promotion-requests/{request['request_id']}/approve",
            {"approver": approver, "comment": comment},
        )
        return int(request["version"])

    async def serving(self) -> dict[str, Any]:
        """What serving answers with."""
        return await self._call("GET", "/api/serving/v1/models")

    async def _call(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, **query: str
    ) -> dict[str, Any]:
        response = await self._client.request(method, path, json=document, params=query or None)
        if response.is_error:
            raise Permanent(f"{method} {path}: {response.status_code} {response.text[:500]}")
        answer: dict[str, Any] = response.json()
        return answer
