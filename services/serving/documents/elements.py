"""The `data` of a JSON tensor, flat or nested, as raw bytes, and raw bytes as `data`.

Numbers are exact or refused: integers outside of their datatype, fractions for an integer,
booleans for a number, finite numbers that a float has no room for. FP16 is read and written as
numbers, where Triton wants it binary; BF16 is binary only.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod
from typing import Any, Final

import numpy as np

from services.serving.documents.json_body import kind
from services.serving.worker.failure import Failure, invalid
from services.serving.worker.tensors import (
    BYTES,
    DTYPES,
    Array,
    Malformed,
    decode,
    decode_strings,
    encode_strings,
)

_FLOATS: Final = frozenset({"FP16", "FP32", "FP64"})
_NUMBERS: Final = frozenset({int, float})


def raw_of(data: object, datatype: str, shape: Sequence[int], field: str) -> bytes:
    """A tensor's raw bytes. Raises Failure that names the field."""
    elements = _flat(data, shape, field)
    if len(elements) != prod(shape):
        raise _wrong_count(elements, shape, field)
    if datatype == BYTES:
        return encode_strings(_of_kinds(elements, {str}, "strings", field))
    if datatype in _FLOATS:
        return _floats(_of_kinds(elements, _NUMBERS, "numbers", field), datatype, field)
    if datatype == "BOOL":
        return _booleans(elements, field)
    if datatype in DTYPES:
        return _integers(_of_kinds(elements, {int}, "integers", field), datatype, field)
    raise _no_json(datatype, field)


def raw_of_base64(data: object, shape: Sequence[int], field: str) -> bytes:
    """BYTES whose elements are base64, for what is no text. Raises Failure."""
    texts = _of_kinds(_flat(data, shape, field), {str}, "strings", field)
    if len(texts) != prod(shape):
        raise _wrong_count(texts, shape, field)
    try:
        return encode_strings([b64decode(text, validate=True) for text in texts])
    except ValueError as error:
        raise invalid(f"{field}: expected base64 ({error})") from error


def _wrong_count(elements: Sequence[Any], shape: Sequence[int], field: str) -> Failure:
    wanted = f"{prod(shape)} elements for shape {list(shape)}"
    return invalid(f"{field}: expected {wanted}, got {len(elements)}")


def _no_json(datatype: str, field: str) -> Failure:
    if datatype == "BF16":
        return invalid(f"{field}: BF16 has no JSON form; send it as binary data")
    return invalid(f"{field}: '{datatype}' is not a datatype of the protocol")


def _flat(data: object, shape: Sequence[int], field: str) -> list[Any]:
    """The elements of a flat array, or of one that is nested as the shape is."""
    if type(data) is not list:
        raise invalid(f"{field}: expected an array, got {kind(data)}")
    level: list[Any] = data
    if not level or type(level[0]) is not list:
        return level
    for depth, size in enumerate(shape[1:], start=1):
        if len(level) != prod(shape[:depth]):
            break
        if any(type(part) is not list or len(part) != size for part in level):
            break
        level = list(chain.from_iterable(level))
    else:
        return level
    raise invalid(f"{field}: the nested arrays do not have shape {list(shape)}")


def _of_kinds(elements: list[Any], kinds: Iterable[type], wanted: str, field: str) -> Sequence[Any]:
    if set(map(type, elements)).issubset(kinds):
        return elements
    for place, element in enumerate(elements):
        if type(element) not in kinds:
            raise invalid(f"{field}: expected {wanted}, got {kind(element)} at element {place}")
    return elements


def _floats(numbers: Sequence[float], datatype: str, field: str) -> bytes:
    try:
        with np.errstate(over="raise"):
            return np.array(numbers, np.float64).astype(DTYPES[datatype]).tobytes()
    except (OverflowError, FloatingPointError) as error:
        raise invalid(f"{field}: a number is too large for {datatype}") from error


def _integers(numbers: Sequence[int], datatype: str, field: str) -> bytes:
    try:
        return np.array(numbers, DTYPES[datatype]).tobytes()
    except OverflowError as error:
        bounds = np.iinfo(DTYPES[datatype])
        place = next(
            at for at, number in enumerate(numbers) if not bounds.min <= number <= bounds.max
        )
        raise invalid(
            f"{field}: {kind(numbers[place])} at element {place} does not fit {datatype} "
            f"({bounds.min} to {bounds.max})"
        ) from error


def _booleans(elements: list[Any], field: str) -> bytes:
    """Booleans, or their numbers 0 and 1."""
    for place, element in enumerate(elements):
        if type(element) is not bool and not (type(element) is int and element in (0, 1)):
            raise invalid(f"{field}: expected booleans, got {kind(element)} at element {place}")
    return bytes(elements)


def data_of(raw: bytes, datatype: str, shape: Sequence[int], field: str) -> Array | list[str]:
    """A tensor as what orjson writes as a flat array. Raises Failure for what has no JSON form."""
    if datatype != BYTES and datatype not in DTYPES:
        raise invalid(f"{field}: {datatype} has no JSON form; ask for it as binary data")
    try:
        if datatype == BYTES:
            return decode_strings(raw, prod(shape))
        return decode(datatype, shape, raw).ravel()
    except Malformed as error:
        raise invalid(f"{field}: {error}; ask for it as binary data") from error


def is_finite(data: Array | list[str]) -> bool:
    """Whether JSON itself has words for all of it."""
    return isinstance(data, list) or data.dtype.kind != "f" or bool(np.isfinite(data).all())
