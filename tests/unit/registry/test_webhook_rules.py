"""Which addresses webhooks reach, how long they rest, and what answers mean."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from random import Random

import pytest

from headrace.errors import InvalidInput
from services.registry.domain.addresses import literal_trouble, trouble
from services.registry.domain.deliveries import Answer, headers_of, rest_after
from services.registry.domain.webhooks import check_url, event_of
from services.registry.webhooks.sender import Sender

INSIDE = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses_are_called(address: str) -> None:
    assert trouble(address, ()) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd12:3456::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "2002:0a00:0001::1",
        "64:ff9b::a00:1",
    ],
)
def test_inner_addresses_are_not_called_unless_allowed(address: str) -> None:
    assert "HEADRACE_REGISTRY_WEBHOOK_NETWORKS" in (trouble(address, ()) or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_an_allowed_network_is_called_in_every_spelling(address: str) -> None:
    assert trouble(address, INSIDE) is None


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "0.0.0.0",  # noqa: S104
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ],
)
def test_metadata_and_multicast_cannot_be_allowed(address: str) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert "link-local" in (trouble(address, everything) or "")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1"])
def test_a_number_that_some_read_as_an_address_is_no_host(host: str) -> None:
    assert literal_trouble(host, ()) is not None


def test_a_name_is_judged_only_when_it_is_called() -> None:
    assert check_url("https://hooks.example.com:8443/x?y=1", allowed=()) == (
        "https://hooks.example.com:8443/x?y=1"
    )


@pytest.mark.parametrize("url", ["https://[::1", "https://a b/", "https://exämple.com", "//x", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, allowed=())


@pytest.mark.parametrize("host", [f"{'a' * 64}.com", "a..b", ".com"])
async def test_a_name_that_no_resolver_takes_is_refused_and_is_no_defect_of_the_sender(
    host: str,
) -> None:
    with pytest.raises(InvalidInput):
        check_url(f"https://{host}/", allowed=())
    sender = Sender(allowed=(), seconds=5)
    answer = await sender.post(f"https://{host}/", headers={}, body="{}")
    await sender.close()
    assert answer.error is not None


def test_rests_double_up_to_five_minutes() -> None:
    random = Random(1)
    failed = Answer(error="ConnectError")
    for failures, bound in ((0, 1), (1, 2), (5, 32), (9, 300), (10_000, 300)):
        rest = rest_after(failures, failed, random=random)
        assert timedelta(seconds=bound / 2) <= rest <= timedelta(seconds=bound)


@pytest.mark.parametrize(("asked", "given"), [(30, 30), (-5, 1), (10**9, 3600)])
def test_a_receiver_says_when_to_come_back_within_bounds(asked: float, given: float) -> None:
    answer = Answer(status=429, retry_after=asked)
    assert rest_after(0, answer, random=Random(1)) == timedelta(seconds=given)


@pytest.mark.parametrize(
    ("status", "accepted", "refused"),
    [
        (200, True, False),
        (204, True, False),
        (302, False, False),
        (400, False, True),
        (404, False, True),
        (408, False, False),
        (410, False, True),
        (429, False, False),
        (500, False, False),
        (None, False, False),
    ],
)
def test_an_answer_ends_a_delivery_or_has_it_sent_again(
    status: int | None, accepted: bool, refused: bool
) -> None:
    answer = Answer(status=status)
    assert (answer.accepted, answer.refused) == (accepted, refused)


def test_the_signature_covers_id_time_and_body() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    headers = headers_of(delivery_id="abc", body="{}", secret="s", now=now)
    signed = f"abc.{int(now.timestamp())}.{{}}".encode()
    digest = base64.b64encode(hmac.new(b"s", signed, hashlib.sha256).digest()).decode()
    assert headers["X-MLflow-Signature"] == f"v1,{digest}"
    unsigned = headers_of(delivery_id="abc", body="{}", secret=None, now=now)
    assert "X-MLflow-Signature" not in unsigned


def test_events_are_named_as_the_protocol_does() -> None:
    assert event_of("MODEL_VERSION_TAG", "SET") == "model_version_tag.set"
    with pytest.raises(InvalidInput, match="Invalid action 'exceeded' for entity 'prompt'"):
        event_of("PROMPT", "EXCEEDED")
