"""Values on their way between steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace.errors import InvalidInput
from headrace.pipelines.artifacts import INLINE_BYTES, kind_of, load, save


@dataclass(frozen=True, kw_only=True)
class Point:
    x: int
    name: str


def round_trip(value: object, annotation: Any, directory: Path) -> Any:
    saved = save(value, annotation, directory / "out")
    return load(saved.kind, annotation, value=saved.value, path=saved.path)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (bytes, "bytes"),
        (Path, "file"),
        (np.ndarray, "npy"),
        (npt.NDArray[np.float32], "npy"),
        (pa.Table, "arrow"),
        (int, "json"),
        (dict[str, float], "json"),
        (str | None, "json"),
        (Point, "json"),
    ],
)
def test_the_annotation_says_how_a_value_is_kept(annotation: Any, kind: str) -> None:
    assert kind_of(annotation) == kind


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (None, int | None),
        ({"a": 1.5}, dict[str, float]),
        (Point(x=1, name="p"), Point),
        (datetime(2013, 1, 1, tzinfo=UTC), datetime),
        (b"\x00\xff", bytes),
    ],
)
def test_values_come_back_as_they_went(value: object, annotation: Any, tmp_path: Path) -> None:
    assert round_trip(value, annotation, tmp_path) == value


@given(
    value=some.recursive(
        some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.text(),
        lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    )
)
def test_any_json_value_comes_back(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert round_trip(value, Any, tmp_path_factory.mktemp("json")) == value


def test_arrays_and_tables_come_back(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(round_trip(numbers, np.ndarray, tmp_path), numbers)
    codes = pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])
    table = pa.table({"code": codes, "x": [1.0, None, 3.0]})
    assert round_trip(table, pa.Table, tmp_path).equals(table)


def test_a_large_json_value_is_a_file(tmp_path: Path) -> None:
    text = "x" * INLINE_BYTES
    saved = save(text, str, tmp_path / "out")
    assert saved.path is not None
    assert load("json", str, path=saved.path) == text


def test_a_pickle_inside_an_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        save(np.array([object()]), np.ndarray, tmp_path / "out")


def test_a_value_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="got str"):
        save("text", bytes, tmp_path / "out")
