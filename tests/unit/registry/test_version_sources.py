"""Source URIs as clients write them."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.registry.domain.sources import (
    BlobSource,
    ForeignSource,
    LoggedModelSource,
    RunSource,
    Source,
    VersionSource,
    parse,
)

MODEL = "m-" + "0f" * 16


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        (f"models:/{MODEL}", LoggedModelSource(model_id=MODEL)),
        ("models:/flights/12", VersionSource(name="flights", version=12)),
        ("models:/flights@champion", VersionSource(name="flights", alias="champion")),
        ("models:/flights/Production", ForeignSource(uri="models:/flights/Production")),
        ("runs:/abc/model/inner", RunSource(run_id="abc", path="model/inner")),
        ("runs:/abc", ForeignSource(uri="runs:/abc")),
        ("mlflow-artifacts:/1/x/artifacts", BlobSource(prefix="artifacts/1/x/artifacts")),
        ("mlflow-artifacts:/a%20b/c", BlobSource(prefix="artifacts/a b/c")),
        (
            "mlflow-artifacts://elsewhere:5000/1/x",
            ForeignSource(uri="mlflow-artifacts://elsewhere:5000/1/x"),
        ),
        ("s3://headrace/artifacts/1", BlobSource(prefix="artifacts/1")),
        ("s3://other/artifacts/1", ForeignSource(uri="s3://other/artifacts/1")),
        ("file:///tmp/model", ForeignSource(uri="file:///tmp/model")),
        ("dummy-source", ForeignSource(uri="dummy-source")),
    ],
)
def test_a_uri_names_a_place(uri: str, source: Source) -> None:
    assert parse(uri, bucket="headrace") == source


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/a/%2e%2e/b",
        "mlflow-artifacts:/a/%252e%252e/b",
        "s3://headrace/a/../b",
        "file:///a/./b",
        "mlflow-artifacts:/a%00b",
        "/models/artifacts/../../",
    ],
)
def test_a_uri_that_climbs_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid model version source"):
        parse(uri, bucket="headrace")
