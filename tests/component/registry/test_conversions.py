"""Conversions to ONNX, attached beside the files of a version, and what tells of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from headrace.events import ConversionFinished, FileRef
from tests.component.registry.conftest import API, Registry

CONVERTED = FileRef(
    path="onnx/model.onnx", uri="s3://headrace/x", digest="sha256:" + "1" * 64, size=7
)


@pytest.fixture
async def version(registry: Registry) -> int:
    await registry.model("flights")
    return await registry.version("flights")


async def _shown(registry: Registry, version: int) -> dict[str, Any]:
    found: dict[str, Any] = await registry.call("GET", f"{API}/models/flights/versions/{version}")
    return found


async def _finish(
    registry: Registry,
    version: int,
    *,
    outcome: Literal["converted", "native"] = "converted",
    reason: str = "",
    digest: str | None = None,
) -> None:
    shown = await _shown(registry, version)
    await registry.handle(
        ConversionFinished(
            model="flights",
            version=version,
            digest=digest or shown["digest"],
            outcome=outcome,
            reason=reason,
            files=[CONVERTED] if outcome == "converted" else [],
            max_difference=3e-7,
            sampled_rows=2000,
            finished_at=datetime.now(UTC),
        )
    )


async def test_version_shows_its_conversion_beside_its_own_files(
    registry: Registry, version: int
) -> None:
    before = await _shown(registry, version)
    await _finish(registry, version)
    after = await _shown(registry, version)
    assert before.pop("conversion") is None
    conversion = after.pop("conversion")
    assert after == before
    assert [file["path"] for file in conversion["files"]] == ["onnx/model.onnx"]
    assert (conversion["outcome"], conversion["max_difference"]) == ("converted", 3e-7)


async def test_version_that_stays_native_says_why_and_nothing_is_told(
    registry: Registry, version: int
) -> None:
    await _finish(registry, version, outcome="native", reason="2 of 2000 rows differ")
    conversion = (await _shown(registry, version))["conversion"]
    assert (conversion["outcome"], conversion["reason"]) == ("native", "2 of 2000 rows differ")
    assert await registry.events("ModelVersionConverted") == []


async def test_promotion_after_it_carries_the_converted_files(
    registry: Registry, version: int
) -> None:
    await _finish(registry, version)
    await registry.promote("flights", version)
    told = await registry.events("PromotionRequested", "ModelPromoted", "ModelAliasState")
    assert [event.name for event in told] == [
        "PromotionRequested",
        "ModelPromoted",
        "ModelAliasState",
    ]
    assert all(event.data.converted == [CONVERTED] for event in told)
    assert all(file.path == "model.onnx" for event in told for file in event.data.files)


async def test_conversion_of_a_champion_is_told_with_where_the_alias_points(
    registry: Registry, version: int
) -> None:
    await registry.promote("flights", version)
    await _finish(registry, version)
    (told,) = await registry.events("ModelVersionConverted")
    *_, state = await registry.events("ModelAliasState")
    assert (told.data.version, told.data.converted) == (version, [CONVERTED])
    assert (state.data.alias, state.data.converted) == ("champion", [CONVERTED])


async def test_conversion_told_twice_counts_once(registry: Registry, version: int) -> None:
    await _finish(registry, version)
    await _finish(registry, version, outcome="native", reason="another try")
    assert (await _shown(registry, version))["conversion"]["outcome"] == "converted"
    assert len(await registry.events("ModelVersionConverted")) == 1


async def test_conversion_of_other_files_is_not_attached(registry: Registry, version: int) -> None:
    await _finish(registry, version, digest="sha256:" + "9" * 64)
    assert (await _shown(registry, version))["conversion"] is None


async def test_conversion_of_a_version_that_is_gone_is_left_alone(
    registry: Registry, version: int
) -> None:
    digest = (await _shown(registry, version))["digest"]
    path = "/api/2.0/mlflow/model-versions/delete"
    await registry.call("DELETE", path, {"name": "flights", "version": str(version)})
    await registry.handle(
        ConversionFinished(
            model="flights",
            version=version,
            digest=digest,
            outcome="converted",
            files=[CONVERTED],
            finished_at=datetime.now(UTC),
        )
    )
    assert await registry.events("ModelVersionConverted") == []
