"""What the year would have been without the loop, from the same logged predictions and labels.

Three arms score the same rows: the looped model (as it answered), January's model (as it
answered beside it), and a timer that retrains as often, with the same recipe on the same growing
window, at equal distances.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from examples.flights import training
from examples.flights.demo.platform import Operator
from headrace.runtime.blobs import Blobs


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Labelled predictions of one arm in order of event time; times are datetime64[us]."""

    event_time: NDArray[np.datetime64]
    score: NDArray[np.float64]
    label: NDArray[np.float64]


async def labelled_table(platform: Operator, blobs: Blobs, dataset: str) -> pa.Table:
    """The whole labelled dataset as the platform wrote it, every segment verified."""
    version = await platform.dataset_version(dataset)
    tables = [
        pq.read_table(io.BytesIO(await blobs.get_verified(segment["uri"], segment["digest"])))
        for segment in version["segments"]
    ]
    return pa.concat_tables(tables, promote_options="permissive").sort_by(
        [("event_time", "ascending"), ("prediction_id", "ascending")]
    )


def answered(table: pa.Table) -> pa.Table:
    """Only rows that a model answered: without the bootstrap upload."""
    return table.filter(pc.is_valid(table["score"]))


def in_both(table: pa.Table, other: pa.Table) -> pa.Table:
    """Rows of `table` whose prediction has a label in both: the same flights for every arm."""
    return table.filter(pc.is_in(table["prediction_id"], other["prediction_id"]))


def scored(table: pa.Table) -> Scored:
    """The arm that these logged predictions are."""
    return Scored(
        event_time=_stamps(table["event_time"]),
        score=table["score"].to_numpy().astype(np.float64),
        label=table["label"].to_numpy().astype(np.float64),
    )


def timer_moments(first: datetime, last: datetime, retrainings: int) -> list[datetime]:
    """When a timer retrains so often between two moments, at equal distances."""
    span = (last - first) / (retrainings + 1)
    return [first + span * (number + 1) for number in range(retrainings)]


def timer_arm(
    table: pa.Table, rows: pa.Table, january: Scored, moments: Sequence[datetime]
) -> Scored:
    """The timer's scores of `rows`: January's until it first fires, then each model's in turn.

    It trains on `table`, bootstrap included. A model answers an event-day after its timer
    fired, as one does in the loop.
    """
    score = january.score.copy()
    starts = [moment + timedelta(days=1) for moment in moments]
    ends = [*starts[1:], datetime.max.replace(tzinfo=UTC)][: len(starts)]
    with _shared_file(table) as known, _one_thread_each():
        jobs = [
            (str(known), moment, rows.filter(_between(january.event_time, start, end)))
            for moment, start, end in zip(moments, starts, ends, strict=True)
        ]
        processes = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        with processes as pool:
            for job, scores in zip(
                zip(starts, ends, strict=True), pool.map(_fit_and_score, jobs), strict=True
            ):
                score[_between(january.event_time, *job)] = scores
    return Scored(event_time=january.event_time, score=score, label=january.label)


def _fit_and_score(job: tuple[str, datetime, pa.Table]) -> NDArray[np.float64]:
    known, moment, asked = job
    stamp = pa.scalar(moment, pa.timestamp("us", tz="UTC"))
    table = pq.read_table(known)
    rows = training.Rows.from_table(table.filter(pc.less_equal(table["observed_at"], stamp)))
    model = training.fit(training.split(rows)[0])
    return model.predict(training.Rows.from_table(asked).columns)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile use one thread: more would fight over the cores."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _shared_file(table: pa.Table) -> Iterator[Path]:
    """The table as a file that other processes read; gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labelled.parquet"
        pq.write_table(table, path)
        yield path


def _between(times: NDArray[np.datetime64], start: datetime, end: datetime) -> NDArray[np.bool_]:
    first, last = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (start, end))
    inside: NDArray[np.bool_] = (times >= first) & (times < last)
    return inside


def _stamps(column: Any) -> NDArray[np.datetime64]:
    stamps: NDArray[np.datetime64] = (
        column.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    )
    return stamps
