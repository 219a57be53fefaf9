from __future__ import annotations

import zlib

import numpy as np
import pytest

from headrace.errors import InvalidInput, Permanent
from headrace.profiles import DayStatistics, PerformanceStatistics, ProfileSchema, TrainingProfile

COLUMNS = {
    "height": np.array([[1.0], [2.0], [np.nan]], dtype=np.float32),
    "embedding": np.arange(6, dtype=np.float32).reshape(3, 2),
    "colour": np.array([b"red", b"blue", b"red"], dtype=object),
}
SCORES = np.array([0.1, 0.6, 0.9], dtype=np.float32)


def test_schema_takes_numbers_texts_and_wide_tensors_as_they_come() -> None:
    schema = ProfileSchema.infer(COLUMNS)
    assert schema.numeric == ("height", "embedding[0]", "embedding[1]")
    assert [(f.name, f.categories) for f in schema.categorical] == [("colour", ("blue", "red"))]
    assert ProfileSchema.from_document(schema.to_document()) == schema


def test_schema_keeps_the_most_frequent_categories_and_counts_the_rest_as_other() -> None:
    schema = ProfileSchema.infer(COLUMNS, max_categories=1)
    day = DayStatistics.of(schema, COLUMNS, SCORES)
    assert schema.categorical[0].categories == ("red",)
    assert day.inputs.counts[0].tolist() == [2, 1]


def test_text_may_be_bytes_or_strings() -> None:
    schema = ProfileSchema.infer(COLUMNS)
    strings = {**COLUMNS, "colour": np.array(["red", "blue", "red"])}
    assert (
        DayStatistics.of(schema, strings, SCORES).to_bytes()
        == DayStatistics.of(schema, COLUMNS, SCORES).to_bytes()
    )


def test_what_is_not_a_finite_number_is_counted_apart() -> None:
    day = DayStatistics.of(ProfileSchema.infer(COLUMNS), COLUMNS, SCORES)
    assert day.inputs.moments[0].tolist() == [2.0, 1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"height": None}, "height"),
        ({"height": np.zeros(2)}, "height"),
        ({"height": np.array(["a", "b", "c"])}, "height"),
        ({"colour": np.zeros(3)}, "colour"),
    ],
)
def test_a_column_that_does_not_fit_is_named(
    change: dict[str, np.ndarray | None], field: str
) -> None:
    columns = {name: c for name, c in {**COLUMNS, **change}.items() if c is not None}
    with pytest.raises(InvalidInput, match=field) as caught:
        DayStatistics.of(ProfileSchema.infer(COLUMNS), columns, SCORES)
    assert caught.value.field == field


def test_rows_without_a_label_count_as_inputs_only() -> None:
    schema = ProfileSchema.infer(COLUMNS)
    day = DayStatistics.of(schema, COLUMNS, SCORES, np.array([0.0, np.nan, 1.0]))
    assert (day.inputs.rows, day.performance.rows, day.performance.auc) == (3, 2, 1.0)


def test_labels_that_come_later_give_the_same_day() -> None:
    schema, labels = ProfileSchema.infer(COLUMNS), np.array([0.0, 1.0, 1.0])
    later = DayStatistics.of(schema, COLUMNS, SCORES).with_labels(
        PerformanceStatistics.of(SCORES, labels)
    )
    assert later.to_bytes() == DayStatistics.of(schema, COLUMNS, SCORES, labels).to_bytes()


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([1.5], [1.0]), ([np.nan], [1.0]), ([0.5], [2.0]), ([0.5, 0.5], [1.0])],
)
def test_scores_and_labels_outside_their_range_are_refused(
    scores: list[float], labels: list[float]
) -> None:
    with pytest.raises(InvalidInput):
        PerformanceStatistics.of(np.array(scores), np.array(labels))


def test_a_certain_and_wrong_score_costs_a_finite_loss() -> None:
    loss = PerformanceStatistics.of(np.array([0.0]), np.array([1.0])).log_loss
    assert loss == pytest.approx(-np.log(1e-6))


def test_no_rows_have_no_metrics() -> None:
    empty = PerformanceStatistics()
    assert (empty.auc, empty.log_loss, empty.brier, empty.mean_score) == (None,) * 4


def test_statistics_of_different_schemas_do_not_merge() -> None:
    day = DayStatistics.of(ProfileSchema.infer(COLUMNS), COLUMNS, SCORES)
    other = DayStatistics.empty(ProfileSchema.infer({"height": COLUMNS["height"]}))
    with pytest.raises(InvalidInput, match="schema"):
        day.merge(other)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a profile",
        zlib.compress(b"[]"),
        zlib.compress(b'{"format":"headrace.training-profile","version":99,"content":{}}'),
        zlib.compress(b'{"format":"headrace.training-profile","version":1,"content":{}}'),
        zlib.compress(b'{"format":"headrace.day-statistics","version":1,"content":{}}'),
        zlib.compress(b'{"format":"headrace.training-profile","version":1,"content":{}}')[:-3],
    ],
)
def test_bytes_that_are_no_training_profile_are_refused(data: bytes) -> None:
    with pytest.raises(Permanent):
        TrainingProfile.from_bytes(data)
