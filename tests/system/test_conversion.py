"""A scikit-learn model, logged and registered by an unmodified `mlflow`, answers as ONNX."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import mlflow
import mlflow.sklearn
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from mlflow.models import infer_signature
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tritonclient.utils import InferenceServerException

from deploy.local import Stack
from tests.harness import native_models
from tests.harness.bus import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_SERVICES = ("tracking", "registry", "serving", "serving-worker")
_PATIENCE = 120.0


@pytest.fixture(scope="module")
def platform() -> Iterator[Stack]:
    with Stack.temporary(services=_SERVICES) as running:
        yield running


def _register(fitted: Any, example: NDArray[np.float32]) -> None:
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            fitted,
            name="model",
            signature=infer_signature(example, fitted.predict(example)),
            input_example=example,
            pip_requirements=[],
            registered_model_name="early",
        )


async def _conversion(http: httpx.AsyncClient) -> Any:
    """What the registry says of it, once it knows."""
    version = "/api/registry/v1/models/early/versions/1"

    async def known() -> bool:
        return (await http.get(version)).json()["conversion"] is not None

    await until(known, seconds=_PATIENCE, what="the conversion in the registry")
    return (await http.get(version)).json()["conversion"]


async def _promote(http: httpx.AsyncClient) -> None:
    path = "/api/registry/v1/models/early/versions/1/promotion-requests"
    asked = (await http.post(path, json={"requested_by": "ada"})).json()
    if asked["state"] == "waiting":
        approval = f"/api/registry/v1/promotion-requests/{asked['request_id']}/approve"
        given = {"approver": "grace", "comment": "alike"}
        (await http.post(approval, json=given)).raise_for_status()


async def _is_ready(client: triton.InferenceServerClient) -> bool:
    try:
        return bool(await client.is_model_ready("early"))
    except InferenceServerException:
        return False


async def test_registered_sklearn_model_answers_with_onnx_runtime(platform: Stack) -> None:
    train = native_models.rows(300, seed=1, missing=False).astype(np.float32)
    ask = native_models.rows(8, seed=2, missing=False).astype(np.float32)
    fitted = LogisticRegression().fit(train, native_models.labels(train.astype(float)))
    mlflow.set_tracking_uri(platform.urls["front"])
    await asyncio.to_thread(_register, fitted, ask)
    async with httpx.AsyncClient(base_url=platform.urls["front"]) as http:
        found = await _conversion(http)
        await _promote(http)
    assert found["outcome"] == "converted", found["reason"]
    assert found["max_difference"] <= 1e-5
    assert found["recorded_rows"] == len(ask)
    async with triton.InferenceServerClient(platform.urls["grpc"]) as client:
        await until(lambda: _is_ready(client), seconds=_PATIENCE, what="the model")
        metadata = await client.get_model_metadata("early")
        tensor = triton.InferInput("input-0", list(ask.shape), "FP32")
        tensor.set_data_from_numpy(ask)
        answers = await client.infer("early", [tensor])
    assert metadata.platform == "onnxruntime_onnx"
    probabilities = answers.as_numpy("predict_proba")
    np.testing.assert_allclose(probabilities, fitted.predict_proba(ask), atol=1e-5)
    own = await asyncio.to_thread(mlflow.sklearn.load_model, "models:/early/1")
    np.testing.assert_array_equal(own.predict(ask), fitted.predict(ask))
