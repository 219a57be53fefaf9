"""Monitored models: watermarks and counters; the row is the lock of all that a model has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from headrace.runtime.db import Connection
from services.monitoring.event_time import Watermark


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitoredModel:
    """How far the streams of one model are, in event time, and what was counted."""

    model_id: int
    model: str
    predictions_through_us: int | None
    labels_through_us: int | None
    predictions_strays: int
    predictions_stray_us: int
    labels_strays: int
    labels_stray_us: int
    predictions_arrived_at: datetime | None
    labels_arrived_at: datetime | None
    last_closed_day: int | None
    labelled_through_us: int | None
    predictions: int
    predictions_late: int
    predictions_repeated: int
    predictions_refused: int
    predictions_dropped: int
    labels: int
    labels_late: int
    labels_repeated: int
    labels_refused: int
    labels_joined: int
    labels_pending: int
    labels_unmatched: int
    segment_rows: int

    @property
    def predictions_watermark(self) -> Watermark:
        """How far the predictions have come."""
        return Watermark(
            through_us=self.predictions_through_us,
            strays=self.predictions_strays,
            stray_us=self.predictions_stray_us,
        )

    @property
    def labels_watermark(self) -> Watermark:
        """How far the labels have come."""
        return Watermark(
            through_us=self.labels_through_us,
            strays=self.labels_strays,
            stray_us=self.labels_stray_us,
        )

    @property
    def dataset(self) -> str:
        """The dataset that the model's labelled segments go to."""
        return f"{self.model}-labelled"

    def states(self) -> dict[str, int]:
        """The counters by name."""
        counters = [name for name in self.__slots__ if name.startswith(("predictions", "labels"))]
        return {
            name: getattr(self, name)
            for name in (*counters, "segment_rows")
            if not name.endswith(("_us", "_at", "_strays"))
        }

    @property
    def now_us(self) -> int | None:
        """How far event time has come: the further one of the streams."""
        known = [
            through
            for through in (self.predictions_through_us, self.labels_through_us)
            if through is not None
        ]
        return max(known, default=None)


_COLUMNS = MonitoredModel.__slots__
_LOCK = "select * from monitored_model where project=$1 and model=$2 for update"


async def lock(connection: Connection, *, project: str, model: str) -> MonitoredModel:
    """The model's row, made if there is none, locked until the end of the transaction."""
    found = await lock_known(connection, project=project, model=model)
    if found is not None:
        return found
    await connection.execute(
        "insert into monitored_model (project, model) values ($1, $2) on conflict do nothing",
        project,
        model,
    )
    return _model(await connection.fetchrow(_LOCK, project, model))


async def lock_known(connection: Connection, *, project: str, model: str) -> MonitoredModel | None:
    """Likewise, but None if nothing was ever heard of the model."""
    row = await connection.fetchrow(_LOCK, project, model)
    return _model(row) if row else None


async def unseen(connection: Connection) -> int:
    """Models that are known from labels alone."""
    count: int = await connection.fetchval(
        "select count(*) from monitored_model where predictions_through_us is null"
    )
    return count


async def find(connection: Connection, *, project: str, model: str) -> MonitoredModel | None:
    """The model as last committed."""
    row = await connection.fetchrow(
        "select * from monitored_model where project=$1 and model=$2", project, model
    )
    return _model(row) if row else None


async def every(connection: Connection, *, project: str) -> Sequence[MonitoredModel]:
    """All models, by name."""
    rows = await connection.fetch(
        "select * from monitored_model where project=$1 order by model", project
    )
    return [_model(row) for row in rows]


async def count_predictions(
    connection: Connection,
    model_id: int,
    *,
    watermark: Watermark,
    arrived_at: datetime,
    added: int,
    late: int,
    repeated: int,
    refused: int,
    dropped: int,
    joined: int,
) -> MonitoredModel:
    """Move the watermark of the predictions; `joined` labels were waiting for them."""
    row = await connection.fetchrow(
        """
        update monitored_model set
            predictions_through_us = $2, predictions_strays = $10, predictions_stray_us = $11,
            predictions_arrived_at = $3,
            predictions = predictions + $4,
            predictions_late = predictions_late + $5,
            predictions_repeated = predictions_repeated + $6,
            predictions_refused = predictions_refused + $7,
            predictions_dropped = greatest(predictions_dropped, $8),
            labels_joined = labels_joined + $9,
            labels_pending = labels_pending - $9
        where model_id = $1 returning *
        """,
        model_id,
        watermark.through_us,
        arrived_at,
        added,
        late,
        repeated,
        refused,
        dropped,
        joined,
        watermark.strays,
        watermark.stray_us,
    )
    return _model(row)


async def count_labels(
    connection: Connection,
    model_id: int,
    *,
    watermark: Watermark,
    arrived_at: datetime,
    added: int,
    late: int,
    repeated: int,
    refused: int,
    joined: int,
    pending: int,
) -> MonitoredModel:
    """Move the watermark of the labels."""
    row = await connection.fetchrow(
        """
        update monitored_model set
            labels_through_us = $2, labels_strays = $10, labels_stray_us = $11,
            labels_arrived_at = $3,
            labels = labels + $4,
            labels_late = labels_late + $5,
            labels_repeated = labels_repeated + $6,
            labels_refused = labels_refused + $7,
            labels_joined = labels_joined + $8,
            labels_pending = labels_pending + $9
        where model_id = $1 returning *
        """,
        model_id,
        watermark.through_us,
        arrived_at,
        added,
        late,
        repeated,
        refused,
        joined,
        pending,
        watermark.strays,
        watermark.stray_us,
    )
    return _model(row)


async def close_day(
    connection: Connection,
    model_id: int,
    *,
    day: int,
    labelled_through_us: int | None,
    segment_rows: int,
    unmatched: int,
) -> MonitoredModel:
    """Note that a day is closed; `unmatched` labels gave up waiting."""
    row = await connection.fetchrow(
        """
        update monitored_model set
            last_closed_day = $2,
            labelled_through_us = coalesce($3, labelled_through_us),
            segment_rows = segment_rows + $4,
            labels_unmatched = labels_unmatched + $5,
            labels_pending = labels_pending - $5
        where model_id = $1 returning *
        """,
        model_id,
        day,
        labelled_through_us,
        segment_rows,
        unmatched,
    )
    return _model(row)


def _model(row: asyncpg.Record | None) -> MonitoredModel:
    if row is None:
        raise LookupError("the model's row is gone, though it was locked")
    return MonitoredModel(**{name: row[name] for name in _COLUMNS})
