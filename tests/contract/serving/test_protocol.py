"""Our definition of the protocol against the one that a real client ships."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import service_pb2 as triton

from headrace.rpc.inference import open_inference_pb2 as ours

CHECKOUT = Path(__file__).resolve().parents[3]
# Not in Triton's superset: the Open Inference Protocol alone has it.
ONLY_OURS = {"ModelMetadataResponse.properties"}


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


def test_both_definitions_live_in_one_process() -> None:
    request = triton.ModelInferRequest(model_name="m", id="1")
    request.parameters["event_time_us"].int64_param = 5
    read = ours.ModelInferRequest.FromString(request.SerializeToString())
    assert read.parameters["event_time_us"].int64_param == 5


def test_generated_modules_match_their_sources(tmp_path: Path) -> None:
    script = CHECKOUT / "proto" / "generate.py"
    subprocess.run([sys.executable, script, "--target", tmp_path], check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    assert len(made) == 6
    for path, text in made.items():
        kept = CHECKOUT / "shared" / "headrace" / "rpc" / path
        assert kept.read_text() == text, f"{path} differs: run `make proto`"
