"""Tensors of the prediction log become columns, or are refused with the field that is wrong."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.rpc.serving.v1.prediction_log_pb2 import PredictionLogged, Tensor
from services.monitoring.columns import decode


def logged(*inputs: Tensor, outputs: list[Tensor] | None = None, rows: int = 2) -> PredictionLogged:
    return PredictionLogged(
        model="m",
        version=1,
        prediction_ids=[f"r/{row}" for row in range(rows)],
        event_times_us=range(rows),
        inputs=inputs,
        outputs=outputs or [],
    )


def texts(values: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def numbers(datatype: str, dtype: str, values: list[float], shape: list[int]) -> Tensor:
    return Tensor(name="x", datatype=datatype, shape=shape, data=np.array(values, dtype).tobytes())


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        ("UINT8", "<u1"),
        ("UINT16", "<u2"),
        ("UINT32", "<u4"),
        ("UINT64", "<u8"),
        ("INT8", "<i1"),
        ("INT16", "<i2"),
        ("INT32", "<i4"),
        ("INT64", "<i8"),
        ("FP16", "<f2"),
        ("FP32", "<f4"),
        ("FP64", "<f8"),
        ("BOOL", "?"),
    ],
)
def test_every_numeric_datatype_keeps_its_values(datatype: str, dtype: str) -> None:
    batch = decode(logged(numbers(datatype, dtype, [0, 1], [2, 1])))

    assert batch.inputs["x"].tolist() == [0, 1]
    assert batch.inputs["x"].dtype == np.dtype(dtype)


def test_bf16_becomes_float32() -> None:
    data = np.array([0x3F80, 0xC000], dtype="<u2").tobytes()

    batch = decode(logged(Tensor(name="x", datatype="BF16", shape=[2], data=data)))

    assert batch.inputs["x"].tolist() == [1.0, -2.0]


@given(values=st.lists(st.text(max_size=6), min_size=1, max_size=20))
def test_texts_of_any_length_survive(values: list[str]) -> None:
    data = texts([value.encode() for value in values])
    tensor = Tensor(name="x", datatype="BYTES", shape=[len(values), 1], data=data)

    batch = decode(logged(tensor, rows=len(values)))

    # numpy's text has no trailing NUL
    assert batch.inputs["x"].tolist() == [value.rstrip("\0") for value in values]


@given(values=st.lists(st.text(st.characters(codec="ascii"), min_size=3, max_size=3), min_size=1))
def test_codes_of_one_length_come_out_as_from_the_loop(values: list[str]) -> None:
    data = texts([value.encode() for value in values])
    tensor = Tensor(name="x", datatype="BYTES", shape=[len(values)], data=data)

    batch = decode(logged(tensor, rows=len(values)))

    assert batch.inputs["x"].tolist() == [value.rstrip("\0") for value in values]


def test_broken_utf8_is_replaced() -> None:
    tensor = Tensor(name="x", datatype="BYTES", shape=[2], data=texts([b"a\xff", b"b"]))

    assert decode(logged(tensor)).inputs["x"].tolist() == ["a�", "b"]


def test_a_wide_input_keeps_its_width() -> None:
    batch = decode(logged(numbers("FP32", "<f4", [1, 2, 3, 4], [2, 2])))

    assert batch.inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_the_score_is_the_first_floating_point_output() -> None:
    label = Tensor(name="label", datatype="INT64", shape=[2], data=struct.pack("<qq", 1, 0))
    score = Tensor(name="p", datatype="FP32", shape=[2, 1], data=struct.pack("<ff", 0.25, 0.5))

    batch = decode(logged(outputs=[label, score]))

    assert batch.scores is not None
    assert batch.scores.tolist() == [0.25, 0.5]


def test_of_two_probabilities_the_score_is_that_of_the_positive_class() -> None:
    pair = numbers("FP64", "<f8", [0.9, 0.1, 0.3, 0.7], [2, 2])

    batch = decode(logged(outputs=[pair]))

    assert batch.scores is not None
    assert batch.scores.tolist() == [0.1, 0.7]


def test_without_a_binary_floating_point_output_there_is_no_score() -> None:
    three = numbers("FP64", "<f8", [0.2, 0.3, 0.5, 0.1, 0.1, 0.8], [2, 3])

    assert decode(logged()).scores is None
    assert decode(logged(outputs=[three])).scores is None


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (Tensor(name="x", datatype="FP32", shape=[2], data=b"123"), "expected 8 bytes"),
        (Tensor(name="x", datatype="FP32", shape=[3], data=b"0" * 12), "begins with 2 rows"),
        (Tensor(name="x", datatype="FP32", shape=[], data=b""), "begins with 2 rows"),
        (Tensor(name="x", datatype="FP32", shape=[2, -1], data=b""), "begins with 2 rows"),
        (Tensor(name="x", datatype="FP32", shape=[2, 10**9], data=b""), "exceed"),
        (Tensor(name="x", datatype="COMPLEX", shape=[2], data=b""), "unknown datatype 'COMPLEX'"),
        (Tensor(name="x", datatype="BYTES", shape=[2], data=b"\1\0\0\0a"), "do not hold 2"),
        (Tensor(name="x", datatype="BYTES", shape=[2], data=b"\xff" * 8), "do not hold 2"),
        (Tensor(name="x", datatype="BYTES", shape=[2], data=texts([b"a"] * 3)), "do not hold 2"),
        (Tensor(name="label", datatype="BYTES", shape=[2], data=texts([b"a"] * 2)), "reserved"),
        (Tensor(name="", datatype="FP32", shape=[2], data=b"0" * 8), "1 to 250 characters"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(tensor: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(logged(tensor))


def test_records_from_before_there_were_rates_are_whole() -> None:
    assert decode(logged()).sampling_rate == 1.0


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    message = logged()
    message.sampling_rate = rate
    with pytest.raises(InvalidInput, match="sampling_rate"):
        decode(message)


def test_ids_times_model_and_version_are_checked() -> None:
    times = logged()
    times.event_times_us.append(5)
    with pytest.raises(InvalidInput, match="event_times_us: expected 2"):
        decode(times)
    far = logged()
    far.event_times_us[0] = 2**62
    with pytest.raises(InvalidInput, match="years 1 to 9999"):
        decode(far)
    with pytest.raises(InvalidInput, match="no rows"):
        decode(logged(rows=0))
    nameless = logged()
    nameless.model = ""
    with pytest.raises(InvalidInput, match="model"):
        decode(nameless)
    versionless = logged()
    versionless.version = 0
    with pytest.raises(InvalidInput, match="version"):
        decode(versionless)


@given(data=st.binary(max_size=64), count=st.integers(1, 5))
def test_any_bytes_are_texts_or_refused(data: bytes, count: int) -> None:
    tensor = Tensor(name="x", datatype="BYTES", shape=[count], data=data)
    try:
        batch = decode(logged(tensor, rows=count))
    except InvalidInput as error:
        assert error.field == "inputs.x"  # noqa: PT017 - either outcome is right
    else:
        assert len(batch.inputs["x"]) == count
