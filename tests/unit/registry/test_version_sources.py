"""Source URIs as clients write them."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidInput
from services.registry.domain.sources import (
    BlobSource,
    Claims,
    ForeignSource,
    LocalSource,
    LoggedModelSource,
    RunSource,
    Source,
    VersionSource,
    check_claims,
    parse,
)

MODEL = "m-" + "0f" * 16


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        (f"models:/{MODEL}", LoggedModelSource(model_id=MODEL)),
        ("models:/flights/12", VersionSource(name="flights", version=12)),
        ("models:/flights@champion", VersionSource(name="flights", alias="champion")),
        ("models:/flights/Production", VersionSource(name="flights", stage="Production")),
        ("models:/flights/latest", VersionSource(name="flights")),
        ("models:/flights", ForeignSource(uri="models:/flights")),
        ("runs:/abc/model/inner", RunSource(run_id="abc", path="model/inner")),
        ("mlflow-artifacts:/1/x/artifacts", BlobSource(prefix="artifacts/1/x/artifacts")),
        ("mlflow-artifacts:/a%20b/c", BlobSource(prefix="artifacts/a b/c")),
        (
            "mlflow-artifacts://elsewhere:5000/1/x",
            ForeignSource(uri="mlflow-artifacts://elsewhere:5000/1/x"),
        ),
        ("s3://headrace/artifacts/1", BlobSource(prefix="artifacts/1")),
        ("s3://other/artifacts/1", ForeignSource(uri="s3://other/artifacts/1")),
        ("file:///tmp/model", LocalSource(path="/tmp/model")),  # noqa: S108
        ("/tmp/model/", LocalSource(path="/tmp/model")),  # noqa: S108
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


@pytest.mark.parametrize(
    "uri", ["runs:/abc", "runs://elsewhere/abc/model", "models://elsewhere/flights/1", "models:/"]
)
def test_a_uri_of_another_server_or_of_nothing_is_refused(uri: str) -> None:
    with pytest.raises(InvalidInput, match="Invalid model version source"):
        parse(uri, bucket="headrace")


@pytest.mark.parametrize(
    ("uri", "claims"),
    [
        ("runs:/abc/model", Claims()),
        ("runs:/abc/model", Claims(run_id="other")),
        ("runs:/abc/model", Claims(run_id="abc", model_id=MODEL)),
        (f"models:/{MODEL}", Claims(model_id="m-" + "1" * 32)),
    ],
)
def test_a_source_must_belong_to_what_the_client_names(uri: str, claims: Claims) -> None:
    with pytest.raises(InvalidInput, match="must identify the resource that contains the source"):
        check_claims(uri, parse(uri, bucket="headrace"), claims)


@pytest.mark.parametrize(
    ("uri", "claims"),
    [
        ("runs:/abc/model", Claims(run_id="abc")),
        (f"models:/{MODEL}", Claims()),
        (f"models:/{MODEL}", Claims(run_id="abc", model_id=MODEL)),
        ("s3://other/model", Claims(run_id="abc")),
    ],
)
def test_other_sources_may_be_claimed(uri: str, claims: Claims) -> None:
    check_claims(uri, parse(uri, bucket="headrace"), claims)
