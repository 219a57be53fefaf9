# mypy: ignore-errors
"""Calls of KServe's own Python clients, run in KServe's environment; prints what came as JSON.

The model asked is `onnx_models.flights()` under the name `flights`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, InferenceRESTClient, RESTConfig


def request(*, binary: bool, model: str = "flights") -> InferRequest:
    """Two rows; text and numbers."""
    carrier = InferInput(name="carrier", shape=[2, 1], datatype="BYTES")
    carrier.set_data_from_numpy(np.array([["UA"], ["DL"]], dtype=object), binary_data=binary)
    distance = InferInput(name="distance", shape=[2, 1], datatype="FP32")
    distance.set_data_from_numpy(np.array([[1.5], [2.5]], np.float32), binary_data=binary)
    return InferRequest(model_name=model, request_id="of-kserve", infer_inputs=[carrier, distance])


def shown(response: Any) -> dict[str, Any]:
    """What a user of the client would look at."""
    return {
        "id": response.id,
        "model": response.model_name,
        "version": response.model_version,
        "outputs": {
            output.name: np.asarray(output.as_numpy()).astype(str).tolist()
            for output in response.outputs
        },
    }


async def over_grpc(address: str) -> dict[str, Any]:
    async with InferenceGRPCClient(address, retries=0) as client:
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("flights"),
            "unknown": await client.is_model_ready("nope"),
            "raw": shown(await client.infer(request(binary=True))),
            "typed": shown(await client.infer(request(binary=False))),
            "error": await error_of(client.infer(request(binary=True, model="nope"))),
        }


async def over_rest(address: str) -> dict[str, Any]:
    url = f"http://{address}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model": await client.is_model_ready(url, "flights"),
            "unknown": await client.is_model_ready(url, "nope"),
            "raw": shown(await client.infer(url, request(binary=True), "flights")),
            "typed": shown(await client.infer(url, request(binary=False), "flights")),
            "error": await error_of(client.infer(url, request(binary=True), "nope")),
        }


async def error_of(call: Any) -> str:
    """What the client raised."""
    try:
        await call
    except Exception as error:
        return str(error)
    return ""


if __name__ == "__main__":
    transport, address = sys.argv[1:]
    calls = over_grpc(address) if transport == "grpc" else over_rest(address)
    print(json.dumps(asyncio.run(calls)))
