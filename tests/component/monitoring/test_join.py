"""Labels meet predictions exactly once, in whatever order and however often both arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from deploy.local.testing import TestBucket, TestDatabase
from headrace.errors import Transient
from headrace.events import LabelledDataWritten, MonitoredDayClosed
from headrace.runtime.blobs import Blobs
from services.monitoring.event_time import Calendar
from tests.harness.monitoring import Desk, at, batch, closing, desk, label


@pytest_asyncio.fixture
async def monitoring(database: TestDatabase, bucket: TestBucket) -> AsyncIterator[Desk]:
    async with desk(database, bucket) as made:
        yield made


async def close(monitoring: Desk, model: str, day: int = 0) -> list[LabelledDataWritten]:
    """Carry both streams past a day; returns the segments written meanwhile."""
    before = len(monitoring.of(LabelledDataWritten))
    last_prediction, last_label = closing(model, day)
    await monitoring.predictions(last_prediction)
    await monitoring.labels(last_label)
    return monitoring.of(LabelledDataWritten)[before:]


async def test_a_label_that_comes_before_its_prediction_waits_for_it(monitoring: Desk) -> None:
    await monitoring.labels(label("m", "p/0", at(2)))
    assert (await monitoring.model("m"))["labels_pending"] == 1

    await monitoring.predictions(batch("m", [("p/0", at(1))]))

    model = await monitoring.model("m")
    assert (model["labels_pending"], model["labels_joined"]) == (0, 1)
    (written,) = await close(monitoring, "m")
    assert (await monitoring.table(written))["prediction_id"].to_pylist() == ["p/0"]


async def test_a_segment_holds_inputs_times_score_version_and_label(monitoring: Desk) -> None:
    rows = [("p/0", at(1)), ("p/1", at(2))]
    await monitoring.predictions(
        batch("m", rows, version=3, scores=[0.25, 0.75], carrier="UA", temp=[1.5, 2.5])
    )
    await monitoring.labels(label("m", "p/1", at(4), 1.0), label("m", "p/0", at(5), 0.0))

    (written,) = await close(monitoring, "m")

    assert (await monitoring.table(written)).to_pylist() == [
        {
            "carrier": "UA",
            "temp": 1.5,
            "prediction_id": "p/0",
            "event_time": at(1),
            "observed_at": at(5),
            "score": 0.25,
            "model_version": "3",
            "label": 0.0,
        },
        {
            "carrier": "UA",
            "temp": 2.5,
            "prediction_id": "p/1",
            "event_time": at(2),
            "observed_at": at(4),
            "score": 0.75,
            "model_version": "3",
            "label": 1.0,
        },
    ]
    (segment,) = written.segments
    assert (written.dataset, written.labelled_through) == ("m-labelled", at(24))
    assert (segment.rows, segment.first_event_time, segment.last_event_time) == (2, at(1), at(2))
    assert segment.observed_through == at(5)
    assert segment.uri.endswith(f"labelled/m/{segment.digest.removeprefix('sha256:')}.parquet")


async def test_a_day_stays_open_until_both_streams_passed_its_end_and_the_lateness(
    monitoring: Desk,
) -> None:
    await monitoring.predictions(batch("m", [("p/0", at(1)), ("p/1", at(30))]))
    await monitoring.labels(label("m", "p/0", at(2)), label("m", "p/1", at(29.9)))
    assert monitoring.told == []

    await monitoring.labels(label("m", "p/9", at(30)))

    assert [type(event) for event in monitoring.told] == [LabelledDataWritten, MonitoredDayClosed]
    model = await monitoring.model("m")
    assert model["labelled_through_us"] is not None
    assert model["last_closed_day"] == monitoring.context.calendar.first_open_day(0) + 15_737 + 1


async def test_resent_batches_change_nothing(monitoring: Desk) -> None:
    logged = batch("m", [(f"p/{i}", at(1 + i / 60)) for i in range(20)])
    observed = [label("m", f"p/{i}", at(3 + i / 60), float(i % 2)) for i in range(20)]
    for _ in range(3):
        await monitoring.predictions(logged, logged)
        await monitoring.labels(*observed, *observed)

    (written,) = await close(monitoring, "m")
    await monitoring.predictions(logged)
    await monitoring.labels(*observed)
    later = await close(monitoring, "m", 1)

    assert [segment.rows for segment in written.segments] == [20]
    assert [row["predictions"] for row in await monitoring.closed("m")] == [20, 1]
    model = await monitoring.model("m")
    assert (model["predictions"], model["predictions_repeated"]) == (22, 20 * 5 + 20)
    assert (model["labels"], model["labels_repeated"]) == (22, 20 * 5 + 20)
    assert [s.rows for w in later for s in w.segments] == [1]  # the one that closed the first day


async def test_a_later_label_replaces_an_earlier_one_of_the_same_day(monitoring: Desk) -> None:
    await monitoring.predictions(batch("m", [("p/0", at(1))]))
    await monitoring.labels(label("m", "p/0", at(2), 0.0), label("m", "p/0", at(3), 1.0))
    await monitoring.labels(label("m", "p/0", at(2.5), 0.0))

    (written,) = await close(monitoring, "m")

    table = await monitoring.table(written)
    assert (table["label"].to_pylist(), table["observed_at"].to_pylist()) == ([1.0], [at(3)])


async def test_a_label_later_than_its_segment_is_a_correction_in_the_next_one(
    monitoring: Desk,
) -> None:
    await monitoring.predictions(batch("m", [("p/0", at(1))]))
    await monitoring.labels(label("m", "p/0", at(2), 0.0))
    (first,) = await close(monitoring, "m")

    await monitoring.labels(label("m", "p/0", at(40), 1.0))
    (second,) = await close(monitoring, "m", 1)

    assert (await monitoring.table(first))["label"].to_pylist() == [0.0]
    rows = {row["prediction_id"]: row for row in (await monitoring.table(second)).to_pylist()}
    assert (rows["p/0"]["label"], rows["p/0"]["observed_at"]) == (1.0, at(40))


async def test_a_label_that_missed_its_day_goes_to_the_next_segment(monitoring: Desk) -> None:
    await monitoring.predictions(batch("m", [("p/0", at(1)), ("p/1", at(1))]))
    await monitoring.labels(label("m", "p/0", at(2)))
    (first,) = await close(monitoring, "m")
    await monitoring.labels(label("m", "p/1", at(3)))
    (second,) = await close(monitoring, "m", 1)

    assert (await monitoring.table(first))["prediction_id"].to_pylist() == ["p/0"]
    assert "p/1" in (await monitoring.table(second))["prediction_id"].to_pylist()
    assert (await monitoring.model("m"))["labels_late"] == 1
    first_day, _ = await monitoring.closed("m")
    assert first_day["labelled"] == 1


async def test_labels_of_unknown_ids_are_counted_and_given_up_after_the_horizon(
    database: TestDatabase, bucket: TestBucket
) -> None:
    async with desk(database, bucket, calendar=Calendar(horizon_days=2)) as monitoring:
        await monitoring.predictions(batch("m", [("p/0", at(1))]))
        await monitoring.labels(label("m", "nobody", at(2)), label("m", "p/0", at(2)))
        for day in range(4):
            await close(monitoring, "m", day)

        model = await monitoring.model("m")
        left = await monitoring.pool.fetchval("select count(*) from label")
        kept = await monitoring.pool.fetchval("select count(*) from prediction")
        batches = await monitoring.pool.fetchval("select count(*) from prediction_batch")

    assert (model["labels_unmatched"], model["labels_pending"]) == (1, 0)
    assert (left, kept, batches) == (4, 4, 4)  # what the last four closings brought


async def test_what_is_older_than_the_memory_is_refused_instead_of_counted_twice(
    database: TestDatabase, bucket: TestBucket
) -> None:
    async with desk(database, bucket, calendar=Calendar(horizon_days=2)) as monitoring:
        logged, observed = batch("m", [("p/0", at(1))]), label("m", "p/0", at(2))
        await monitoring.predictions(logged)
        await monitoring.labels(observed)
        for day in range(5):
            await close(monitoring, "m", day)
        before = await monitoring.segments("m")
        await monitoring.predictions(logged)
        await monitoring.labels(observed)
        await close(monitoring, "m", 5)

        model = await monitoring.model("m")
        assert (await monitoring.segments("m"))[: len(before)] == before
        assert [rows for _, _, rows in await monitoring.segments("m")] == [1] * 6
        assert (model["predictions_refused"], model["labels_refused"]) == (1, 1)


async def test_two_models_do_not_touch_each_other(monitoring: Desk) -> None:
    for model in ("a", "b"):
        await monitoring.predictions(batch(model, [("same/0", at(1))]))
    await monitoring.labels(label("a", "same/0", at(2), 0.0), label("b", "same/0", at(2), 1.0))

    (of_a,) = await close(monitoring, "a")

    assert of_a.model == "a"
    assert (await monitoring.table(of_a))["label"].to_pylist() == [0.0]
    assert await monitoring.segments("b") == []
    (of_b,) = await close(monitoring, "b")
    assert (await monitoring.table(of_b))["label"].to_pylist() == [1.0]


async def test_a_day_of_two_input_layouts_becomes_two_files(monitoring: Desk) -> None:
    narrow = batch("m", [("p/0", at(1))])
    other = batch("m", [("p/1", at(1))])
    del other.inputs[1]
    await monitoring.predictions(narrow, other)
    await monitoring.labels(label("m", "p/0", at(2)), label("m", "p/1", at(2)))

    (written,) = await close(monitoring, "m")

    assert sorted(segment.rows for segment in written.segments) == [1, 1]


async def test_a_model_without_labels_closes_its_days_once_labels_count_as_silent(
    database: TestDatabase, bucket: TestBucket
) -> None:
    async with desk(database, bucket, idle_after=timedelta(minutes=15)) as monitoring:
        await monitoring.predictions(batch("m", [("p/0", at(1)), ("p/1", at(31))]))
        assert monitoring.told == []
        monitoring.clock.time += timedelta(minutes=16)
        await monitoring.predictions(batch("m", [("p/2", at(32))]))

        (day,) = monitoring.of(MonitoredDayClosed)
        assert (day.day, day.predictions, day.labelled) == ("2013-02-01", 1, 0)

        await monitoring.labels(label("m", "p/0", at(2)))
        monitoring.clock.time += timedelta(minutes=16)
        await monitoring.predictions(batch("m", [("p/3", at(55))]))
        (written,) = monitoring.of(LabelledDataWritten)
        assert (await monitoring.table(written))["prediction_id"].to_pylist() == ["p/0"]


async def test_what_is_bad_is_refused_with_the_field_and_the_rest_is_taken(
    monitoring: Desk,
) -> None:
    short = batch("m", [("bad/0", at(1))])
    short.inputs[1].data = b"\0\0"
    other = batch("m", [("bad/1", at(1))])
    other.project = "elsewhere"
    await monitoring.predictions(short, batch("m", [("p/0", at(1))]), other)
    await monitoring.labels(
        label("m", "p/0", at(1), float("nan")),
        label("m", "p/0", at(2)),
        label("m", "nul\0", at(2)),
    )

    assert monitoring.refused == [
        "inputs.temp: expected 4 bytes for FP32 of shape [1, 1], got 2",
        "project: this is 'default', got 'elsewhere'",
        "label: expected a finite number, got nan",
        "prediction_id, model: a NUL cannot be stored",
    ]
    model = await monitoring.model("m")
    assert (model["predictions"], model["labels"], model["labels_joined"]) == (1, 1, 1)


async def test_a_batch_of_nothing_but_garbage_leaves_no_trace(monitoring: Desk) -> None:
    short = batch("m", [("bad/0", at(1))])
    short.inputs[1].data = b"\0\0"
    await monitoring.predictions(short)
    await monitoring.labels(label("m", "p/0", at(1), float("inf")))

    assert len(monitoring.refused) == 2
    assert await monitoring.pool.fetchval("select count(*) from monitored_model") == 0


async def test_labels_of_too_many_unknown_models_are_refused(
    database: TestDatabase, bucket: TestBucket
) -> None:
    async with desk(database, bucket, max_unseen_models=2) as monitoring:
        await monitoring.labels(label("a", "p/0", at(1)), label("b", "p/0", at(1)))
        await monitoring.labels(label("c", "p/0", at(1)), label("a", "p/1", at(1)))
        (refused,) = monitoring.refused
        assert refused.startswith("unknown model 'c'")

        await monitoring.predictions(batch("a", [("p/0", at(1))]))
        await monitoring.labels(label("c", "p/0", at(1)))
        assert (await monitoring.model("c"))["labels_pending"] == 1


async def test_a_request_without_event_time_does_not_stop_a_replay(monitoring: Desk) -> None:
    await monitoring.predictions(batch("m", [("probe/0", at(24 * 365 * 13))]))
    await monitoring.predictions(batch("m", [(f"p/{i}", at(1)) for i in range(150)]))
    await monitoring.predictions(batch("m", [("probe/1", at(24 * 365 * 13))]))
    await monitoring.labels(*(label("m", f"p/{i}", at(2)) for i in range(150)))

    (written,) = await close(monitoring, "m")

    assert [segment.rows for segment in written.segments] == [150]
    assert [day.predictions for day in monitoring.of(MonitoredDayClosed)] == [150]


async def test_while_the_blob_store_is_away_a_batch_is_neither_taken_nor_dropped(
    monitoring: Desk,
) -> None:
    await monitoring.predictions(batch("m", [("p/0", at(1)), ("p/1", at(31))]))
    await monitoring.labels(label("m", "p/0", at(2)))
    before = await monitoring.model("m")
    async with Blobs.open(
        endpoint="http://127.0.0.1:9", bucket="none", access_key="none", secret_key="none"
    ) as nowhere:
        cut_off = replace(monitoring, context=replace(monitoring.context, blobs=nowhere))
        with pytest.raises(Transient, match="blob store"):
            await cut_off.labels(label("m", "p/1", at(31)))
    assert await monitoring.model("m") == before

    await monitoring.labels(label("m", "p/1", at(31)))
    (written,) = monitoring.of(LabelledDataWritten)
    assert [segment.rows for segment in written.segments] == [1]
