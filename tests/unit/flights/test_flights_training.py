"""The recipe on made-up flights that have the real ones' schema, gaps and traps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from examples.flights import training
from examples.flights.features import CATEGORICAL, INPUTS, NUMERIC, OUTPUT, Columns
from examples.flights.onnx_export import rounded_down
from headrace.errors import InvalidInput, Refused

DAYS = 20
ROWS = 4_000


def made_up_rows(seed: int = 0) -> training.Rows:
    generator = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {
        "carrier": generator.choice(np.array(["UA", "B6", "9E"], dtype=object), ROWS),
        "origin": generator.choice(np.array(["EWR", "JFK", "LGA"], dtype=object), ROWS),
        "dest": generator.choice(np.array([f"D{i:02}" for i in range(40)], dtype=object), ROWS),
    }
    for name in NUMERIC:
        values = generator.normal(10, 5, ROWS).astype(np.float32)
        values[generator.random(ROWS) < 0.1] = np.nan
        columns[name] = values
    columns["hour"] = generator.integers(5, 23, ROWS).astype(np.float32)
    chance = 0.1 + 0.02 * (columns["hour"] - 5) + 0.2 * (columns["carrier"] == "B6")
    event_time = np.datetime64("2013-01-01", "us") + np.sort(
        generator.integers(0, DAYS * 86_400_000_000, ROWS).astype("timedelta64[us]")
    )
    return training.Rows(
        columns=columns,
        event_time=event_time,
        observed_at=event_time + np.timedelta64(3, "h"),
        label=(generator.random(ROWS) < chance.astype(float)).astype(np.float64),
    )


@pytest.fixture(scope="module")
def rows() -> training.Rows:
    return made_up_rows()


@pytest.fixture(scope="module")
def model(rows: training.Rows) -> training.FittedModel:
    return training.fit(rows)


@pytest.fixture(scope="module")
def onnx(model: training.FittedModel) -> bytes:
    return training.to_onnx(model)


def test_export_answers_like_the_model_it_came_from(
    onnx: bytes, model: training.FittedModel, rows: training.Rows
) -> None:
    assert training.check_parity(onnx, model, rows) < 1e-6


def test_export_answers_like_the_model_on_values_at_its_thresholds(
    onnx: bytes, model: training.FittedModel, rows: training.Rows
) -> None:
    nodes = np.concatenate([tree.nodes for (tree,) in model.trees._predictors])
    edges = nodes["num_threshold"][~nodes["is_leaf"].astype(bool)]
    columns = dict(made_up_rows(seed=3).take(np.arange(len(edges) * 3)).columns)
    near = rounded_down(edges)
    steps = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
    for name in NUMERIC:
        columns[name] = np.concatenate(steps)
    probe = training.Rows(
        columns=columns,
        event_time=rows.event_time[:0],
        observed_at=rows.observed_at[:0],
        label=rows.label[:0],
    )
    assert training.check_parity(onnx, model, probe) < 1e-6


@pytest.mark.parametrize("value", ["ZZZ", "", "Zürich"])
def test_unknown_categories_and_missing_numbers_get_an_answer(
    onnx: bytes, model: training.FittedModel, value: str
) -> None:
    columns: Columns = {
        **{name: np.array([value], dtype=object) for name in CATEGORICAL},
        **{name: np.array([np.nan], dtype=np.float32) for name in NUMERIC},
    }
    answer = training.predict_onnx(onnx, columns)
    assert 0.0 < answer[0] < 1.0
    assert answer == pytest.approx(model.predict(columns), abs=1e-6)


def test_export_takes_one_named_tensor_an_input_and_gives_one_probability_a_row(
    onnx: bytes,
) -> None:
    import onnxruntime  # noqa: PLC0415 - heavy

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    inputs = {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_inputs()}
    assert inputs == {
        **{name: ("tensor(string)", ["rows", 1]) for name in CATEGORICAL},
        **{name: ("tensor(float)", ["rows", 1]) for name in NUMERIC},
    }
    assert [(t.name, t.type, t.shape) for t in session.get_outputs()] == [
        (OUTPUT, "tensor(float)", ["rows", 1])
    ]


def test_training_twice_makes_the_same_bytes(onnx: bytes, rows: training.Rows) -> None:
    assert training.to_onnx(training.fit(rows)) == onnx


def test_another_model_than_the_trained_one_is_refused(
    model: training.FittedModel, rows: training.Rows
) -> None:
    other = training.to_onnx(training.fit(rows, seed=1))
    with pytest.raises(Refused, match=r"off by up to .* not the model that was trained"):
        training.check_parity(other, model, rows)


def test_answers_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(Refused, match="1 of 2 rows"):
        training.require_parity(np.array([0.5, np.nan]), np.array([0.5, 0.5]), tolerance=1e-5)


def test_hold_out_is_the_latest_whole_days(rows: training.Rows) -> None:
    fitted, held_out = training.split(rows)
    assert len(fitted) + len(held_out) == len(rows)
    assert fitted.days.max() < held_out.days.min()
    assert len(np.unique(held_out.days)) == training.HOLDOUT_DAYS


def test_a_day_that_has_just_begun_does_not_shorten_the_hold_out(rows: training.Rows) -> None:
    last = rows.days.max()
    begun = rows.take((rows.days < last) | (np.cumsum(rows.days == last) <= 3))
    _, held_out = training.split(begun)
    assert held_out.days.min() == last - training.HOLDOUT_DAYS * training.DAY
    assert held_out.days.max() == last


def test_beyond_the_limit_older_rows_are_sampled_and_recent_ones_kept(
    rows: training.Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MAX_TRAINING_ROWS", 2_000)
    monkeypatch.setattr(training, "RECENT_DAYS", 5)
    fitted, held_out = training.split(rows)
    recent = held_out.days.min() - 5 * training.DAY
    assert len(fitted) == 2_000
    assert (fitted.days >= recent).sum() == (
        (rows.days >= recent) & (rows.days < held_out.days.min())
    ).sum()


def test_too_few_days_cannot_be_split(rows: training.Rows) -> None:
    with pytest.raises(InvalidInput, match="event-days"):
        training.split(rows.take(rows.days == rows.days.min()))


def test_labels_observed_after_the_alert_are_not_known(rows: training.Rows) -> None:
    alert = datetime(2013, 1, 5, 6, tzinfo=UTC)
    known = rows.known_by(alert)
    assert known.observed_at.max() <= np.datetime64("2013-01-05T06:00")
    assert len(rows.known_by(alert + timedelta(days=60))) == len(rows)


def test_one_label_alone_cannot_be_learnt(rows: training.Rows) -> None:
    with pytest.raises(InvalidInput, match="only one label"):
        training.fit(rows.take(rows.label == 0.0))


def test_evaluation_finds_what_the_model_learnt(onnx: bytes) -> None:
    metrics = training.evaluate(onnx, made_up_rows(seed=2))
    assert metrics.auc is not None
    assert metrics.auc > 0.6
    assert metrics.rows == ROWS
    assert metrics.to_document().keys() == {"rows", "auc", "log_loss", "brier", "positive_rate"}


def test_no_rows_cannot_be_evaluated(onnx: bytes, rows: training.Rows) -> None:
    with pytest.raises(InvalidInput, match="no labelled rows"):
        training.evaluate(onnx, rows.take(np.zeros(len(rows), dtype=bool)))


def test_profile_covers_every_day_and_its_scores_are_out_of_sample(rows: training.Rows) -> None:
    fitted, held_out = training.split(rows)
    model = training.fit(fitted)
    profile = training.training_profile(model, fitted, held_out)
    assert len(profile.days) == DAYS
    assert profile.total().performance.rows == len(rows)
    in_sample = training.metrics_of(model.predict(fitted.columns), fitted.label).log_loss
    out_of_sample = profile.total().performance.log_loss
    assert out_of_sample is not None
    assert out_of_sample > in_sample


def test_rows_of_labelled_segments_keep_texts_gaps_and_times(rows: training.Rows) -> None:
    part = rows.take(np.arange(50))
    table = pa.table(
        {
            "prediction_id": [f"r/{i}" for i in range(50)],
            **{name: pa.array(part.columns[name].tolist(), pa.string()) for name in CATEGORICAL},
            **{name: pa.array(part.columns[name], pa.float32()) for name in NUMERIC},
            "event_time": pa.array(part.event_time, pa.timestamp("us")),
            "observed_at": pa.array(part.observed_at, pa.timestamp("us", tz="UTC")),
            "label": pa.array(part.label, pa.float64()),
        }
    )
    back = training.Rows.from_table(pa.concat_tables([table.slice(0, 20), table.slice(20)]))
    for name in INPUTS:
        np.testing.assert_array_equal(back.columns[name], part.columns[name])
        assert back.columns[name].dtype == part.columns[name].dtype
    np.testing.assert_array_equal(back.event_time, part.event_time)
    np.testing.assert_array_equal(back.observed_at, part.observed_at)
    np.testing.assert_array_equal(back.label, part.label)
    with pytest.raises(InvalidInput, match="temp"):
        training.Rows.from_table(table.drop_columns(["temp"]))


def test_known_bad_conversion_of_categorical_splits_is_refused(
    model: training.FittedModel, rows: training.Rows
) -> None:
    """skl2onnx 1.20 converts splits on sets of categories without an error, and wrongly."""
    import onnxruntime  # noqa: PLC0415 - heavy
    from skl2onnx import to_onnx  # noqa: PLC0415 - heavy
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - heavy

    matrix = np.column_stack(
        [np.unique(rows.columns["dest"].astype(str), return_inverse=True)[1], rows.columns["hour"]]
    ).astype(np.float32)
    late = (matrix[:, 0].astype(int) * 7 % 5 < 2).astype(float)
    trees = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0]).fit(matrix, late)
    converted = to_onnx(trees, matrix[:1], options={"zipmap": False}).SerializeToString()
    session = onnxruntime.InferenceSession(converted, providers=["CPUExecutionProvider"])
    exported = np.asarray(session.run(None, {"X": matrix})[1])[:, 1]
    with pytest.raises(Refused, match="off by up to"):
        training.require_parity(exported, trees.predict_proba(matrix)[:, 1], tolerance=1e-5)
    with pytest.raises(Refused, match="sets of categories"):
        training.to_onnx(replace(model, trees=trees))
