"""Dataset versions: segments from monitoring and uploads, each content stored once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from headrace.errors import Refused
from headrace.events import LabelledDataWritten, Segment
from services.registry.domain.datasets import EMPTY_DIGEST, chain
from tests.component.registry.conftest import API, MORNING, Registry, evidence

NAME = "flights-labelled"


def written(
    segments: list[Segment], *, through: int, model: str = "flights"
) -> LabelledDataWritten:
    return LabelledDataWritten(
        dataset=NAME,
        model=model,
        segments=segments,
        labelled_through=MORNING + timedelta(days=through),
    )


def synthetic(place: int) -> Segment:
    """A segment that only its digest distinguishes; nobody reads it."""
    begin = MORNING + timedelta(days=place)
    return Segment(
        uri=f"s3://headrace/labelled/{place}.parquet",
        digest=f"sha256:{place:064x}",
        size=10,
        rows=1 + place % 7,
        first_event_time=begin,
        last_event_time=begin,
        observed_through=begin,
    )


async def test_written_segments_become_versions_that_grow(registry: Registry) -> None:
    segments = [synthetic(place) for place in range(3)]
    await registry.handle(written(segments[:1], through=1))
    event = await registry.handle(written(segments[1:], through=3), correlation_id="turn-9")
    seen = await registry.call("GET", f"{API}/datasets/{NAME}/versions/latest")
    assert (seen["version"], seen["parent_version"], seen["segment_count"]) == (2, 1, 3)
    assert seen["rows"] == sum(segment.rows for segment in segments)
    assert seen["digest"] == chain(EMPTY_DIGEST, [segment.digest for segment in segments])
    assert [Segment.model_validate(one) for one in seen["segments"]] == segments
    first, second = await registry.events("DatasetVersionCreated")
    assert second.data.labelled_through == MORNING + timedelta(days=3)
    assert (second.data.model, second.data.origin) == ("flights", "labelled")
    assert (second.correlation_id, second.causation_id) == ("turn-9", event.id)
    assert first.key == NAME
    assert second.id == seen["event_id"]


async def test_segments_written_again_make_no_version(registry: Registry) -> None:
    segments = [synthetic(place) for place in range(3)]
    await registry.handle(written(segments, through=3))
    await registry.handle(written(segments[:2], through=2))
    await registry.handle(written(segments, through=3))
    assert len(await registry.events("DatasetVersionCreated")) == 1


async def test_a_later_promise_alone_is_a_version_of_the_same_content(registry: Registry) -> None:
    segments = [synthetic(0)]
    await registry.handle(written(segments, through=1))
    await registry.handle(written(segments, through=2))
    first, second = (event.data for event in await registry.events("DatasetVersionCreated"))
    assert first.digest == second.digest
    assert second.labelled_through == MORNING + timedelta(days=2)


async def test_one_place_cannot_hold_two_contents(registry: Registry) -> None:
    segment = synthetic(0)
    await registry.handle(written([segment], through=1))
    other = segment.model_copy(update={"digest": f"sha256:{'f' * 64}"})
    with pytest.raises(Refused, match="two contents"):
        await registry.handle(written([other], through=2))
    assert len(await registry.events()) == 1


async def test_data_of_another_model_are_refused(registry: Registry) -> None:
    await registry.handle(written([synthetic(0)], through=1))
    with pytest.raises(Refused, match="predictions of model flights"):
        await registry.handle(written([synthetic(1)], through=2, model="buses"))


async def test_hundreds_of_versions_store_every_segment_once(registry: Registry) -> None:
    for place in range(300):
        await registry.handle(written([synthetic(place)], through=place))
    stored = await registry.pool.fetchval(
        "select count(*) from dataset_segment where project = $1", registry.project
    )
    spans = await registry.pool.fetchval(
        "select max(cardinality(spans)) from dataset_version where project = $1", registry.project
    )
    assert (stored, spans) == (300, 2)
    for number in (1, 150, 300):
        seen = await registry.call("GET", f"{API}/datasets/{NAME}/versions/{number}")
        assert [one["digest"] for one in seen["segments"]] == [
            synthetic(place).digest for place in range(number)
        ]


async def test_racing_writers_lose_no_segment(registry: Registry) -> None:
    await asyncio.gather(
        *(registry.handle(written([synthetic(place)], through=place)) for place in range(8))
    )
    seen = await registry.call("GET", f"{API}/datasets/{NAME}/versions/latest")
    assert (seen["version"], seen["segment_count"]) == (8, 8)
    versions = [event.data.version for event in await registry.events("DatasetVersionCreated")]
    assert versions == list(range(1, 9))


async def test_an_upload_is_checked_against_the_object(registry: Registry) -> None:
    segment = await registry.segment(rows=7)
    path = f"{API}/datasets/january/versions"
    wrong = segment.model_copy(update={"digest": f"sha256:{'0' * 64}"})
    response = await registry.answer("POST", path, {"segments": [wrong.model_dump(mode="json")]})
    assert response.status_code == 403
    assert segment.digest in response.json()["message"]
    short = segment.model_copy(update={"size": segment.size - 1})
    response = await registry.answer("POST", path, {"segments": [short.model_dump(mode="json")]})
    assert response.status_code == 403
    gone = segment.model_copy(update={"uri": segment.uri + "-gone"})
    response = await registry.answer("POST", path, {"segments": [gone.model_dump(mode="json")]})
    assert (response.status_code, response.json()["field"]) == (400, "segments.0.uri")
    assert await registry.events() == []
    made = await registry.call(
        "POST", path, {"origin": "upload", "segments": [segment.model_dump(mode="json")]}
    )
    assert (made["dataset"], made["version"], made["rows"]) == ("january", 1, 7)


async def test_the_same_upload_again_is_the_same_version(registry: Registry) -> None:
    segments = [(await registry.segment()).model_dump(mode="json") for _ in range(3)]
    path = f"{API}/datasets/january/versions"
    first = await registry.call("POST", path, {"segments": segments[:2]})
    again = await registry.call("POST", path, {"segments": segments[:2]})
    other = await registry.call("POST", path, {"segments": [segments[2], segments[0]]})
    assert (first["version"], again["version"], other["version"]) == (1, 1, 2)
    assert other["digest"] != first["digest"]
    seen = await registry.call("GET", f"{path}/2")
    assert [one["digest"] for one in seen["segments"]] == [
        segments[2]["digest"],
        segments[0]["digest"],
    ]
    assert (
        await registry.pool.fetchval(
            "select count(*) from dataset_segment where project = $1", registry.project
        )
        == 3
    )
    assert len(await registry.events("DatasetVersionCreated")) == 2


async def test_people_do_not_upload_into_the_platforms_datasets(registry: Registry) -> None:
    await registry.handle(written([synthetic(0)], through=1))
    segment = await registry.segment()
    response = await registry.answer(
        "POST", f"{API}/datasets/{NAME}/versions", {"segments": [segment.model_dump(mode="json")]}
    )
    assert response.status_code == 409


async def test_the_platform_continues_what_people_began(registry: Registry) -> None:
    january = await registry.segment(rows=70)
    begun = await registry.call(
        "POST", f"{API}/datasets/{NAME}/versions", {"segments": [january.model_dump(mode="json")]}
    )
    await registry.handle(written([synthetic(1)], through=2))
    seen = await registry.call("GET", f"{API}/datasets/{NAME}/versions/latest")
    assert (seen["version"], seen["origin"], seen["model"]) == (2, "labelled", "flights")
    assert [one["digest"] for one in seen["segments"]] == [january.digest, synthetic(1).digest]
    assert seen["digest"] == chain(begun["digest"], [synthetic(1).digest])
    first = await registry.call("GET", f"{API}/datasets/{NAME}/versions/1")
    assert (first["origin"], first["model"]) == ("upload", None)
    events = await registry.events("DatasetVersionCreated")
    assert [event.data.origin for event in events] == ["upload", "labelled"]


async def test_unknown_datasets_and_versions_are_not_found(registry: Registry) -> None:
    await registry.handle(written([synthetic(0)], through=1))
    for path in ("nope/versions/latest", f"{NAME}/versions/2", f"{NAME}/versions/two", "nope"):
        assert (await registry.answer("GET", f"{API}/datasets/{path}")).status_code == 404
    everything = await registry.call("GET", f"{API}/datasets")
    assert [one["dataset"] for one in everything["datasets"]] == [NAME]


async def test_the_gate_takes_evidence_on_another_models_dataset_for_nothing(
    registry: Registry,
) -> None:
    await registry.handle(written([synthetic(0)], through=1, model="buses"))
    dataset = await registry.call("GET", f"{API}/datasets/{NAME}/versions/1")
    await registry.model("flights")
    first, second = await registry.version("flights"), await registry.version("flights")
    await registry.promote("flights", first)
    made = await registry.promote("flights", second, evidence=evidence(dataset, champion=first))
    assert made["outcome"] == "rejected"
    assert "holds predictions of model buses" in made["reason"]
