from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from services.tracking.settings import Settings


def settings(**changes: object) -> Settings:
    fields: dict[str, object] = {
        "http_port": 1,
        "kafka": "127.0.0.1:2",
        "database_url": SecretStr("postgresql://x"),
        "s3_endpoint": "http://127.0.0.1:3",
        "s3_access_key": "name",
        "s3_secret_key": SecretStr("secret"),
        **changes,
    }
    return Settings.model_validate(fields)


@pytest.mark.parametrize(
    ("changes", "direct"),
    [
        ({}, True),
        ({"s3_endpoint": "http://s3:3"}, False),
        ({"http_host": "10.0.0.1", "allow_remote": True}, False),
        ({"s3_endpoint": "http://s3:3", "s3_public_endpoint": "https://s3.example.com"}, True),
        ({"artifact_transfer": "proxy"}, False),
        ({"artifact_transfer": "direct", "s3_endpoint": "http://s3:3"}, True),
        ({"artifact_transfer": "direct-only", "s3_endpoint": "http://s3:3"}, True),
    ],
)
def test_clients_go_straight_to_s3_where_it_is_known_to_be_in_their_reach(
    changes: dict[str, object], direct: bool
) -> None:
    assert settings(**changes).direct_transfer is direct


@pytest.mark.parametrize("endpoint", ["s3.example.com", "ftp://x", "https://x/path", "https://x?y"])
def test_an_endpoint_that_signatures_do_not_cover_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="without a path"):
        settings(s3_public_endpoint=endpoint)


def test_a_signed_url_names_the_public_host_and_no_secret() -> None:
    signer = settings(s3_public_endpoint="https://s3.example.com/").signer
    url = signer.read("artifacts/0/a b#ü", seconds=60)
    assert url.startswith("https://s3.example.com/headrace/artifacts/0/a%20b%23%C3%BC?")
    assert "X-Amz-Expires=60" in url
    assert "secret" not in url
