"""A data plane with models, asked over the wire by an unmodified tritonclient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
import tritonclient.grpc as triton

from services.serving.worker.fronts import Front, Kind
from tests.harness import onnx_models
from tests.harness.data_plane import DataPlane, data_plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> DataPlane:
    """simple v3 (v2 pinned), flights v1, types v1, wide v1; `empty` has no champion."""
    made = data_plane(tmp_path_factory.mktemp("models"), max_rows=4096)
    made.answer_with(
        {
            "simple": made.load("simple", 3, onnx_models.simple()),
            "flights": made.load("flights", 1, onnx_models.flights()),
            "types": made.load("types", 1, onnx_models.of_every_type()),
            "wide": made.load("wide", 1, onnx_models.any_width()),
            "empty": None,
        },
        made.load("simple", 2, onnx_models.simple()),
    )
    return made


@pytest.fixture(scope="module", params=["native", "grpcio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The same suite runs against both front-ends."""
    return cast("Kind", request.param)


@pytest.fixture(scope="module")
def front(kind: Kind, plane: DataPlane) -> Iterator[Front]:
    with plane.listening(kind) as listening:
        yield listening


@pytest.fixture
def url(front: Front) -> str:
    return f"127.0.0.1:{front.port}"


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url) as connected:
        yield connected


@pytest.fixture(scope="module")
def rest(plane: DataPlane) -> Iterator[str]:
    """The same models over HTTP; host and port."""
    with plane.listening_rest() as address:
        yield address
