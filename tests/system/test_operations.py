"""What every process of the platform says of itself, in the same way."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local import Stack
from deploy.local.options import SERVICES
from headrace import __version__

BUS = frozenset(
    {
        "messaging_client_consumed_messages",
        "messaging_client_sent_messages",
        "messaging_client_operation_duration_seconds",
        "messaging_process_duration_seconds",
        "consumer_lag_records",
        "consumer_lag_seconds",
        "consumer_last_poll_age_seconds",
        "outbox_pending",
        "outbox_oldest_seconds",
        "parked_keys",
        "parked_records",
        "paused_partitions",
        "fenced_batches",
        "dlt_records",
        "duplicate_records",
        "batch_retries",
        "relay_leading",
    }
)


def ask(stack: Stack, process: str, path: str) -> httpx.Response:
    return httpx.get(stack.urls[process] + path, timeout=10)


@pytest.mark.parametrize("process", SERVICES)
def test_every_process_lives_and_is_ready(stack: Stack, process: str) -> None:
    assert ask(stack, process, "/livez").text == "ok"
    assert ask(stack, process, "/readyz/shutdown").text == "ok"
    ready = ask(stack, process, "/readyz")
    assert ready.status_code == 200
    assert ready.json()["reasons"] == []
    assert ready.json()["version"] == __version__


@pytest.mark.parametrize("process", SERVICES)
def test_every_process_describes_its_events(stack: Stack, process: str) -> None:
    assert ask(stack, process, "/asyncapi.json").json()["asyncapi"].startswith("3.")


@pytest.mark.parametrize("process", sorted(set(SERVICES) - {"worker", "serving-worker"}))
def test_every_process_with_calls_of_its_own_describes_them(stack: Stack, process: str) -> None:
    assert ask(stack, process, "/openapi.json").json()["info"]["version"] == __version__


@pytest.mark.parametrize("process", SERVICES)
def test_every_process_shows_the_metrics_of_the_bus(stack: Stack, process: str) -> None:
    families = text_string_to_metric_families(ask(stack, process, "/metrics").text)

    assert {family.name for family in families} >= BUS


@pytest.mark.parametrize("process", sorted(set(SERVICES) - {"tracking"}))
def test_every_process_says_its_version(stack: Stack, process: str) -> None:
    assert ask(stack, process, "/version").json()["version"] == __version__


def test_tracking_says_the_version_of_mlflow_there_and_its_own_elsewhere(stack: Stack) -> None:
    assert ask(stack, "tracking", "/version").text.endswith(f"+headrace.{__version__}")
    own = httpx.get(f"{stack.urls['front']}/api/tracking/v1/version", timeout=10)
    assert own.json() == {"service": "tracking", "version": __version__}
