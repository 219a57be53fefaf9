"""What is told beside answers where a table or a label chose, over every transport."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

STRANGE_IDS = {"flug-ü": "flug-%C3%BC", "旅行": "%E6%97%85%E8%A1%8C", "100% sure": "100% sure"}


def _inputs() -> list[triton.InferInput]:
    tensors = []
    for name in ("INPUT0", "INPUT1"):
        tensor = triton.InferInput(name, [1, 16], "INT32")
        tensor.set_data_from_numpy(np.zeros((1, 16), np.int32))
        tensors.append(tensor)
    return tensors


@pytest.mark.parametrize("request_id", STRANGE_IDS)
def test_request_id_in_any_script_is_answered_and_so_are_those_after_it(
    client: triton.InferenceServerClient, request_id: str
) -> None:
    for _ in range(2):
        answer = client.infer(
            "simple",
            _inputs(),
            model_version="champion",
            request_id=request_id,
            client_timeout=20,
        )
        assert answer.get_response().id == request_id


@pytest.mark.parametrize(("request_id", "told"), STRANGE_IDS.items())
def test_header_tells_the_request_id_in_printable_ascii(
    rest: str, request_id: str, told: str
) -> None:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": [0] * 16}
        for name in ("INPUT0", "INPUT1")
    ]
    answer = httpx.post(
        f"http://{rest}/v2/models/simple/versions/champion/infer",
        json={"id": request_id, "inputs": inputs},
    )
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == told
