"""Our definition of the protocol against the one that a real client ships."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2 as triton_config
from tritonclient.grpc import service_pb2 as triton

from headrace.rpc.inference import model_config_pb2 as config
from headrace.rpc.inference import open_inference_pb2 as ours

CHECKOUT = Path(__file__).resolve().parents[3]
# Not in Triton's superset: the Open Inference Protocol and KServe alone have them.
ONLY_OURS = {
    "ModelMetadataResponse.properties",
    "RepositoryModelLoadResponse.model_name",
    "RepositoryModelLoadResponse.isLoaded",
    "RepositoryModelUnloadResponse.model_name",
    "RepositoryModelUnloadResponse.isUnloaded",
}


def _fields(message: Descriptor) -> Iterator[tuple[str, int, int, bool]]:
    for field in message.fields:
        name = f"{message.full_name.removeprefix('inference.')}.{field.name}"
        if name not in ONLY_OURS:
            yield name, field.number, field.type, field.is_repeated
    for nested in message.nested_types:
        if nested.name != "PropertiesEntry":
            yield from _fields(nested)


@pytest.mark.parametrize("name", sorted(ours.DESCRIPTOR.message_types_by_name))
def test_fields_have_the_names_numbers_and_types_of_the_client(name: str) -> None:
    mine = set(_fields(ours.DESCRIPTOR.message_types_by_name[name]))
    theirs = set(_fields(triton.DESCRIPTOR.message_types_by_name[name]))
    assert mine == theirs


def test_every_message_and_method_of_the_client_is_defined() -> None:
    assert set(triton.DESCRIPTOR.message_types_by_name) == set(
        ours.DESCRIPTOR.message_types_by_name
    )
    mine, theirs = (
        [
            (method.name, method.input_type.name, method.output_type.name, method.client_streaming)
            for method in sorted(
                file.services_by_name["GRPCInferenceService"].methods,
                key=lambda method: str(method.name),
            )
        ]
        for file in (ours.DESCRIPTOR, triton.DESCRIPTOR)
    )
    assert mine == theirs


@pytest.mark.parametrize("name", sorted(config.DESCRIPTOR.message_types_by_name))
def test_fields_of_the_configuration_are_among_those_of_the_client(name: str) -> None:
    mine = set(_fields(config.DESCRIPTOR.message_types_by_name[name]))
    theirs = set(_fields(triton_config.DESCRIPTOR.message_types_by_name[name]))
    assert mine <= theirs


def test_datatypes_of_the_configuration_have_the_numbers_of_the_client() -> None:
    assert dict(config.DataType.items()) == dict(triton_config.DataType.items())


def test_both_definitions_live_in_one_process() -> None:
    request = triton.ModelInferRequest(model_name="m", id="1")
    request.parameters["event_time_us"].int64_param = 5
    read = ours.ModelInferRequest.FromString(request.SerializeToString())
    assert read.parameters["event_time_us"].int64_param == 5


def test_generated_modules_match_their_sources(tmp_path: Path) -> None:
    script = CHECKOUT / "proto" / "generate.py"
    subprocess.run([sys.executable, script, "--target", tmp_path], check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    assert len(made) == 14
    for path, text in made.items():
        kept = CHECKOUT / "shared" / "headrace" / "rpc" / path
        assert kept.read_text() == text, f"{path} differs: run `make proto`"
