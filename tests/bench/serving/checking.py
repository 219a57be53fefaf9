"""An unmodified tritonclient that looks whether the answers are right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import tritonclient.grpc as triton

from tests.bench.serving.models import INPUT, Fitted, row


def check(address: str, fitted: Fitted) -> None:
    """Raises RuntimeError unless the server predicts what the classifier does."""
    tensor = triton.InferInput(INPUT, [1, row().shape[1]], "FP32")
    tensor.set_data_from_numpy(row())
    with triton.InferenceServerClient(address) as client:
        for _ in range(20):
            answer = client.infer(fitted.name, [tensor]).get_response()
            got = _label(answer)
            if got != fitted.label:
                raise RuntimeError(f"{fitted.name} answers {got}, expected {fitted.label}")


def labels(answers: Iterable[bytes]) -> dict[str, set[int]]:
    """What gRPC messages of answers say, by the version of the model."""
    found: dict[str, set[int]] = defaultdict(set)
    for answer in answers:
        response = triton.service_pb2.ModelInferResponse.FromString(answer[5:])
        found[response.model_version].add(_label(response))
    return found


def _label(answer: triton.service_pb2.ModelInferResponse) -> int:
    """The first output, raw or typed: MLServer mirrors the form of the request, KServe does not."""
    if answer.raw_output_contents:
        return int.from_bytes(answer.raw_output_contents[0][:8], "little", signed=True)
    return int(answer.outputs[0].contents.int64_contents[0])
