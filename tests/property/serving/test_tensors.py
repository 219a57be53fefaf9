"""The raw codec, over all tensors and all bytes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.serving.worker.tensors import (
    BYTES,
    DTYPES,
    Malformed,
    decode,
    decode_strings,
    encode,
    encode_strings,
    split_rows,
)

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[str, tuple[int, ...], Any]:
    """A datatype, a shape, and an array of it."""
    shape = draw(SHAPES)
    datatype = draw(st.sampled_from([*DTYPES, BYTES]))
    if datatype == BYTES:
        strings = draw(st.lists(st.text(), min_size=prod(shape), max_size=prod(shape)))
        array = np.empty(prod(shape), dtype=object)
        array[:] = strings
        return datatype, shape, array.reshape(shape)
    return datatype, shape, draw(hnp.arrays(DTYPES[datatype], shape))


@given(tensors())
def test_decoding_what_was_encoded_gives_it_back(tensor: tuple[str, tuple[int, ...], Any]) -> None:
    datatype, shape, array = tensor
    back = decode(datatype, shape, encode(datatype, array))
    assert back.shape == shape
    if datatype == BYTES:
        assert back.tolist() == array.tolist()
    else:
        assert back.tobytes() == array.tobytes()


@given(tensors(), st.data())
def test_pieces_of_rows_are_the_rows(
    tensor: tuple[str, tuple[int, ...], Any], data: st.DataObject
) -> None:
    datatype, shape, array = tensor
    inner = data.draw(st.sets(st.integers(1, shape[0] - 1))) if shape[0] > 1 else set()
    starts = sorted({0} | inner)
    raw = encode(datatype, array)
    pieces = split_rows(datatype, shape, raw, starts)
    assert b"".join(pieces) == raw
    for start, end, piece in zip(starts, [*starts[1:], shape[0]], pieces, strict=True):
        assert piece == encode(datatype, array[start:end])


@given(st.binary(max_size=64), st.integers(0, 8))
def test_arbitrary_bytes_are_strings_or_malformed_and_nothing_else(raw: bytes, count: int) -> None:
    try:
        strings = decode_strings(raw, count)
    except Malformed:
        return
    assert len(strings) == count
    assert encode_strings(strings) == raw


@given(st.lists(st.binary(max_size=12), max_size=6))
def test_only_text_is_taken(elements: list[bytes]) -> None:
    raw = encode_strings(elements)
    try:
        texts = [element.decode() for element in elements]
    except UnicodeDecodeError:
        with pytest.raises(Malformed, match="is not UTF-8"):
            decode_strings(raw, len(elements))
    else:
        assert decode_strings(raw, len(elements)) == texts


@given(st.sampled_from(sorted(DTYPES)), SHAPES, st.integers(-3, 3).filter(bool))
def test_wrong_byte_length_is_never_accepted(
    datatype: str, shape: tuple[int, ...], off: int
) -> None:
    size = prod(shape) * DTYPES[datatype].itemsize
    if size + off < 0:
        return
    with pytest.raises(Malformed, match=f"Expected {size}, got {size + off}"):
        decode(datatype, shape, b"\0" * (size + off))
