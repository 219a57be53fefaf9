"""A model's traffic, set and looked at over HTTP as an operator does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import tritonclient.grpc.aio as triton

from headrace.events import FileRef, LabelObserved, RewardObserved
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask

API = "/api/serving/v1/models"


async def call(
    serving: Serving, method: str, path: str, body: dict[str, Any] | None = None, **query: str
) -> httpx.Response:
    """A call of the control process about a model; `path` begins with its name."""
    async with httpx.AsyncClient(base_url=serving.control.url, timeout=20) as http:
        return await http.request(method, f"{API}/{path}", json=body, params=query)


async def shown(serving: Serving, path: str) -> dict[str, Any]:
    """What such a call shows. Raises AssertionError when it is refused."""
    answer = await call(serving, "GET", path)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def begun(serving: Serving, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What is begun as soon as the versions that it names are known."""
    answers: list[httpx.Response] = []

    async def taken() -> bool:
        answers.append(await call(serving, method, path, {"author": "ada", **body}))
        return answers[-1].status_code != 403

    await until(taken, what="the versions known")
    assert answers[-1].status_code == 202, answers[-1].text
    document: dict[str, Any] = answers[-1].json()
    return document


async def with_candidate(
    serving: Serving, model: str, *, champion: float = 1.0, candidate: float = 2.0
) -> list[FileRef]:
    """Version 1 answers, version 2 is known; returns the files of the latter."""
    await serving.deploy(model, 1, onnx_models.constant(champion))
    files = await serving.upload(onnx_models.constant(candidate))
    await serving.create(model, 2, files)
    return files


async def in_force(serving: Serving, model: str, version: int) -> None:
    """Wait until every worker routes by a table."""

    async def there() -> bool:
        table = (await shown(serving, f"{model}/traffic"))["in_force"]
        return bool(table and table["version"] == version)

    await until(there, seconds=30, what=f"table {version} in force")


async def sticky_scores(url: str, model: str, *, keys: int) -> list[float]:
    """What each of so many sticky keys is answered."""
    async with triton.InferenceServerClient(url) as client:
        return [
            await ask(client, model, headers={"x-sticky-key": f"user-{number}"})
            for number in range(keys)
        ]


async def ask_many(serving: Serving, model: str, ids: Sequence[str]) -> dict[str, float]:
    """What each of these requests is answered."""
    async with triton.InferenceServerClient(serving.grpc) as client:
        return {each: await ask(client, model, request_id=each) for each in ids}


async def tell_reward(serving: Serving, model: str, request_id: str, reward: float) -> None:
    """What the first row of a request earned."""
    observed = RewardObserved(
        project=serving.project,
        model=model,
        prediction_id=f"{request_id}/0",
        reward=reward,
        observed_at=datetime.now(UTC),
    )
    await serving.publisher.emit(observed, correlation_id="rewards")


async def tell_label(serving: Serving, model: str, request_id: str, label: float) -> None:
    """The truth about the first row of a request."""
    observed = LabelObserved(
        project=serving.project,
        model=model,
        prediction_id=f"{request_id}/0",
        label=label,
        observed_at=datetime.now(UTC),
    )
    await serving.publisher.emit(observed, correlation_id="labels")
