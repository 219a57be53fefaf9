"""The blob store as artifacts use it: directories, uploads in parts, removal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.local.testing import TestBucket
from headrace.errors import InvalidInput, NotFound
from headrace.runtime.blobs import Blobs, PartRef
from headrace.runtime.clock import SystemClock


@pytest.fixture
async def blobs(bucket: TestBucket) -> AsyncIterator[Blobs]:
    """A store in a bucket of this test alone."""
    async with Blobs.open(
        endpoint=bucket.endpoint,
        bucket=bucket.name,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
    ) as opened:
        yield opened


async def test_what_lies_deeper_costs_a_listing_nothing(blobs: Blobs) -> None:
    for number in range(5):
        await blobs.put(f"d/deep/{number}", b"x")
    await blobs.put("d/file", b"xy")
    page = await blobs.list_directory("d/", limit=2)
    assert page.directories == ["d/deep/"]
    assert [(blob.key, blob.size) for blob in page.blobs] == [("d/file", 2)]
    assert page.next_token is None


async def test_a_directory_is_listed_page_by_page(blobs: Blobs) -> None:
    for number in range(5):
        await blobs.put(f"d/{number}", b"x")
    found, token = [], None
    while True:
        page = await blobs.list_directory("d/", token=token, limit=2)
        found += [blob.key for blob in page.blobs]
        token = page.next_token
        if token is None:
            break
    assert found == [f"d/{number}" for number in range(5)]


async def test_removal_keeps_what_lies_beside(blobs: Blobs) -> None:
    for key in ("a/1", "a/b/2", "ab/3", "a"):
        await blobs.put(f"x/{key}", b"x")
    assert await blobs.delete_below("x/a/") == 2
    assert [blob.key for blob in await blobs.list("x/")] == ["x/a", "x/ab/3"]
    page = await blobs.list_directory("x/")
    assert page.directories == ["x/ab/"]
    assert await blobs.delete_below("x/a/") == 0


async def test_an_upload_that_nobody_finished_is_dropped(blobs: Blobs) -> None:
    now = SystemClock().now()
    old = await blobs.uploads.begin("in/old")
    await blobs.uploads.begin("elsewhere/other")
    assert await blobs.uploads.drop("in/", begun_before=now - timedelta(hours=1)) == 0
    assert await blobs.uploads.drop("in/", begun_before=now + timedelta(hours=1)) == 1
    with pytest.raises(NotFound):
        await blobs.uploads.finish("in/old", upload_id=old, parts=[PartRef(number=1, etag="e")])


async def test_parts_that_are_not_there_do_not_make_a_blob(blobs: Blobs) -> None:
    upload_id = await blobs.uploads.begin("x")
    with pytest.raises((InvalidInput, NotFound)):
        await blobs.uploads.finish(
            "x", upload_id=upload_id, parts=[PartRef(number=1, etag="0" * 32)]
        )
    assert not await blobs.exists("x")
