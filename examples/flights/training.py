"""The recipe: rows of the platform's own prediction log in, a proven ONNX model out.

Runs in worker processes. Nothing here knows where rows come from or where models go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from examples.flights import onnx_export
from examples.flights.features import CATEGORICAL, NUMERIC, OUTPUT, Columns, rows_of, take
from headrace.errors import InvalidInput, Refused
from headrace.profiles import PerformanceStatistics, TrainingProfile

HOLDOUT_DAYS = 3
"""Latest event-days kept from training: champion and challenger are compared on them."""

MAX_TRAINING_ROWS = 120_000
RECENT_DAYS = 45
"""Beyond the limit, older rows are sampled; those of the latest days are all kept."""

FEWEST_FOLDS, MOST_FOLDS = 2, 5
FOLD_ROWS = 240_000
"""Groups of whole days for out-of-sample scores of the training days: fewer for more rows."""

PRIOR_ROWS = 50
"""A category's late share is drawn towards the overall one as if by this many rows."""

ROWS_PER_TREE = 800
FEWEST_TREES, MOST_TREES = 30, 120
"""A month of flights carries fewer trees than a year: more of them fit its weather by heart."""

PARITY_TOLERANCE = 1e-5

DAY = np.timedelta64(1, "D")
Moments = NDArray[np.datetime64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Labelled predictions as columns; times are datetime64[us], `label` is 0 or 1."""

    columns: Columns
    event_time: Moments
    observed_at: Moments
    label: NDArray[np.float64]

    def __len__(self) -> int:
        return rows_of(self.columns)

    @classmethod
    def from_table(cls, table: pa.Table) -> Rows:
        """Rows of labelled segments; InvalidInput names a column that is missing."""
        columns = {
            **{name: _text(_column(table, name)) for name in CATEGORICAL},
            **{name: _numbers(_column(table, name)) for name in NUMERIC},
        }
        return cls(
            columns=columns,
            event_time=_moments(_column(table, "event_time")),
            observed_at=_moments(_column(table, "observed_at")),
            label=_column(table, "label").to_numpy().astype(np.float64),
        )

    @property
    def days(self) -> Moments:
        """Event-day of each row, datetime64[D]."""
        return self.event_time.astype("datetime64[D]")

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        return Rows(
            columns=take(self.columns, index),
            event_time=self.event_time[index],
            observed_at=self.observed_at[index],
            label=self.label[index],
        )

    def known_by(self, moment: datetime) -> Rows:
        """Only rows whose label was observed at `moment` or before."""
        limit = np.datetime64(moment.replace(tzinfo=None), "us")
        return self.take(self.observed_at <= limit)


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """Codes by category for each text input, and gradient-boosted trees over all inputs."""

    codes: Mapping[str, Mapping[str, float]]
    unknown: float
    trees: Any

    def predict(self, columns: Columns) -> NDArray[np.float64]:
        """Probability of being late, [n]."""
        matrix = feature_matrix(columns, self.codes, self.unknown)
        probability: NDArray[np.float64] = self.trees.predict_proba(matrix)[:, 1]
        return probability


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How good probabilities were on `rows` labelled rows; `auc` is None with one label only."""

    rows: int
    auc: float | None
    log_loss: float
    brier: float
    positive_rate: float

    def to_document(self) -> dict[str, float]:
        return {name: float(value) for name, value in asdict(self).items() if value is not None}


def split(rows: Rows, *, holdout_days: int = HOLDOUT_DAYS, seed: int = 0) -> tuple[Rows, Rows]:
    """(training, hold-out): the latest event-days are held out, whole.

    InvalidInput when nothing would be left to train on.
    """
    if len(rows) == 0:
        raise InvalidInput("there are no rows to train on")
    days = rows.days
    first_held_out = _latest_full_day(days) - (holdout_days - 1) * DAY
    if days.min() >= first_held_out:
        raise InvalidInput(f"{len(rows)} rows do not span more than {holdout_days} event-days")
    held_out = days >= first_held_out
    return _sampled(rows.take(~held_out), seed), rows.take(held_out)


def _latest_full_day(days: Moments) -> np.datetime64:
    """The latest day with at least half of an ordinary day's rows.

    When a day closes in the early morning, some flights of the next one have landed already.
    """
    found, rows = np.unique(days, return_counts=True)
    latest: np.datetime64 = found[rows >= np.median(rows) / 2].max()
    return latest


def fit(rows: Rows, *, seed: int = 0) -> FittedModel:
    """Train on one thread; InvalidInput unless both labels occur."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - heavy

    if len(np.unique(rows.label)) != 2:
        raise InvalidInput(f"{len(rows)} rows hold only one label; training needs both")
    unknown = float(np.float32(rows.label.mean()))
    codes = {name: _late_shares(rows.columns[name], rows.label) for name in CATEGORICAL}
    trees = HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=int(np.clip(len(rows) // ROWS_PER_TREE, FEWEST_TREES, MOST_TREES)),
        max_leaf_nodes=31,
        max_features=0.3,
        min_samples_leaf=100,
        l2_regularization=10.0,
        early_stopping=False,
        random_state=seed,
    )
    trees.fit(feature_matrix(rows.columns, codes, unknown), rows.label)
    return FittedModel(codes=codes, unknown=unknown, trees=trees)


def to_onnx(model: FittedModel) -> bytes:
    return onnx_export.export(model.codes, model.unknown, model.trees)


def predict_onnx(onnx: bytes, columns: Columns) -> NDArray[np.float64]:
    """What serving would answer, [n]: the same runtime on the same bytes."""
    import onnxruntime  # noqa: PLC0415 - heavy

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    tensors = {
        name: column.reshape(-1, 1) for name, column in columns.items() if name in _inputs(session)
    }
    (answer,) = session.run([OUTPUT], tensors)
    return np.asarray(answer, dtype=np.float64).reshape(-1)


def check_parity(
    onnx: bytes, model: FittedModel, rows: Rows, *, tolerance: float = PARITY_TOLERANCE
) -> float:
    """Largest difference between the exported and the fitted model over all rows; Refused above."""
    return require_parity(
        predict_onnx(onnx, rows.columns), model.predict(rows.columns), tolerance=tolerance
    )


def require_parity(
    exported: NDArray[np.float64], native: NDArray[np.float64], *, tolerance: float
) -> float:
    """Largest absolute difference; Refused above `tolerance`, and for what is not a number."""
    difference = np.abs(exported - native)
    largest = float(difference.max(initial=0.0))
    if not largest <= tolerance:
        off = int((~(difference <= tolerance)).sum())
        raise Refused(
            f"the converted model is off by up to {largest:.3g} ({off} of {len(native)} rows above"
            f" {tolerance:g}); it is not the model that was trained"
        )
    return largest


def evaluate(onnx: bytes, rows: Rows) -> Metrics:
    """Metrics of the very bytes that would be promoted."""
    return metrics_of(predict_onnx(onnx, rows.columns), rows.label)


def metrics_of(scores: NDArray[np.float64], label: NDArray[np.float64]) -> Metrics:
    """InvalidInput when there are no rows."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - heavy

    sums = PerformanceStatistics.of(scores, label)
    if sums.rows == 0:
        raise InvalidInput("no labelled rows to evaluate on")
    both = 0 < sums.positives < sums.rows
    return Metrics(
        rows=sums.rows,
        auc=float(roc_auc_score(label, scores)) if both else None,
        log_loss=sums.log_loss_sum / sums.rows,
        brier=sums.squared_error_sum / sums.rows,
        positive_rate=sums.positives / sums.rows,
    )


def training_profile(
    model: FittedModel, training: Rows, holdout: Rows, *, seed: int = 0
) -> TrainingProfile:
    """The version's baseline, every score out of sample.

    Training days are scored by models that did not see them (folds of whole days), hold-out
    days by `model` itself.
    """
    days = training.days.astype(np.int64)
    folds = int(np.clip(FOLD_ROWS // len(training), FEWEST_FOLDS, MOST_FOLDS))
    scores = np.empty(len(training))
    for fold in range(folds):
        inside = days % folds == fold
        if inside.any():
            part = training.take(inside)
            scores[inside] = fit(training.take(~inside), seed=seed).predict(part.columns)
    seen = TrainingProfile.of(
        columns=training.columns, days=training.days, scores=scores, labels=training.label
    )
    unseen = TrainingProfile.of(
        columns=holdout.columns,
        days=holdout.days,
        scores=model.predict(holdout.columns),
        labels=holdout.label,
        schema=seen.schema,
    )
    return seen.merge(unseen)


def feature_matrix(
    columns: Columns, codes: Mapping[str, Mapping[str, float]], unknown: float
) -> NDArray[np.float32]:
    """[n, categorical + numeric], float32 as the exported model sees it."""
    encoded = [
        np.array([codes[name].get(value, unknown) for value in columns[name].tolist()], np.float32)
        for name in CATEGORICAL
    ]
    return np.column_stack([*encoded, *(columns[name] for name in NUMERIC)]).astype(np.float32)


def _late_shares(values: NDArray[Any], label: NDArray[np.float64]) -> dict[str, float]:
    """Late share by category, drawn towards the overall one; exact in float32."""
    categories, position = np.unique(values.astype(str), return_inverse=True)
    rows = np.bincount(position)
    late = np.bincount(position, weights=label)
    shares = (late + PRIOR_ROWS * label.mean()) / (rows + PRIOR_ROWS)
    return dict(zip(categories.tolist(), shares.astype(np.float32).tolist(), strict=True))


def _sampled(rows: Rows, seed: int) -> Rows:
    if len(rows) <= MAX_TRAINING_ROWS:
        return rows
    days = rows.days
    recent = days > days.max() - RECENT_DAYS * DAY
    older = np.flatnonzero(~recent)
    wanted = max(0, MAX_TRAINING_ROWS - int(recent.sum()))
    drawn = np.random.default_rng(seed).choice(older, min(wanted, len(older)), replace=False)
    return rows.take(np.sort(np.concatenate([np.flatnonzero(recent), drawn])))


def _inputs(session: Any) -> set[str]:
    return {tensor.name for tensor in session.get_inputs()}


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InvalidInput(f"the dataset has no column {name!r}", field=name)
    return _one_chunk(table.column(name))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else column.combine_chunks()


def _text(column: pa.Array) -> NDArray[Any]:
    """One Python string a category, not one a row."""
    encoded = column.dictionary_encode()
    categories = np.array([*encoded.dictionary.to_pylist(), ""], dtype=object)
    texts: NDArray[Any] = categories[encoded.indices.fill_null(-1).to_numpy()]
    return texts


def _numbers(column: pa.Array) -> NDArray[np.float32]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)


def _moments(column: pa.Array) -> Moments:
    moments: Moments = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    return moments
