"""What an operator of the platform does around the demo: datasets, pipelines, policies, approval.

All of it goes through the front door, with the calls that anyone can make; they run in threads,
so that the traffic goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self

from headrace.client.platform import Platform
from headrace.errors import Permanent, Transient

_OPERATOR: Final = "demo-operator"


class Operator:
    """The REST API of a running platform, for one event loop."""

    def __init__(self, front: str) -> None:
        self._platform = Platform(url=front)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._platform.close()

    async def add_dataset_version(self, name: str, document: Mapping[str, Any]) -> int:
        """Make a dataset version of uploaded segments; returns its number."""
        made = await asyncio.to_thread(
            self._platform.create_dataset_version,
            name,
            segments=document["segments"],
            labelled_through=document["labelled_through"],
            model=document["model"],
        )
        return int(made["version"])

    async def dataset_version(self, name: str) -> dict[str, Any]:
        """The newest version of a dataset with its segments."""
        return await asyncio.to_thread(self._platform.dataset_version, name)

    async def start_run(self, *, pipeline: str, model: str, parameters: Mapping[str, Any]) -> str:
        """Start a pipeline; returns the id of the run."""
        run = await asyncio.to_thread(
            self._platform.start_run, pipeline, parameters, requested_by=_OPERATOR, model=model
        )
        return str(run["pipeline_run_id"])

    async def finished_run(self, run_id: str, *, seconds: float) -> dict[str, Any]:
        """The run once it succeeded. Raises Permanent with its error if it did not."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            run = await asyncio.to_thread(self._platform.run, run_id)
            if run["state"] == "succeeded":
                return run
            if run["state"] in {"failed", "cancelled"}:
                raise Permanent(f"pipeline run {run_id} {run['state']}: {run.get('error')}")
            await asyncio.sleep(0.2)
        raise Transient(f"pipeline run {run_id} did not finish within {seconds:.0f} s")

    async def copy_version(self, source: str, *, to: str) -> int:
        """Register a version (`models:/name/version`) under another name, files and all."""
        return await asyncio.to_thread(self._platform.copy_version, source, to=to)

    async def request_promotion(self, model: str, version: int) -> None:
        """Ask that a version become champion."""
        await asyncio.to_thread(
            self._platform.request_promotion,
            model,
            version,
            requested_by=_OPERATOR,
            evidence=None,
        )

    async def set_promotion_policy(self, model: str, document: Mapping[str, Any]) -> None:
        """Whether promotions of a model pass by themselves, and with which margins."""
        await asyncio.to_thread(self._platform.put_promotion_policy, model, document)

    async def set_retrain_policy(self, model: str, document: Mapping[str, Any]) -> None:
        """What drift of a model starts."""
        await asyncio.to_thread(self._platform.put_policy, model, document)

    async def approve_waiting(self, model: str, *, approver: str, comment: str) -> int:
        """Approve the promotion request of a model that waits; returns the version."""
        (request,) = await asyncio.to_thread(
            self._platform.promotion_requests, model=model, state="waiting"
        )
        await asyncio.to_thread(
            self._platform.approve, request["request_id"], approver=approver, comment=comment
        )
        return int(request["version"])

    async def served_models(self) -> list[dict[str, Any]]:
        """What serving answers with, model by model."""
        return await asyncio.to_thread(self._platform.served_models)
