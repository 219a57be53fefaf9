"""Acknowledged spans stay, whatever dies."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.component.tracking.otlp import Sent, export, request, stored_spans
from tests.component.tracking.process import TrackingProcess

WRITERS = 8


def write_until_dead(url: str, experiment: str, acknowledged: list[Sent]) -> None:
    """Send spans one after another until the service is gone; note those acknowledged."""
    with httpx.Client(base_url=url, timeout=10) as http:
        for number in range(10_000):
            sent = Sent(name=f"span {number}")
            try:
                answer = export(http, experiment, request(sent))
            except httpx.HTTPError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(sent)


@pytest.mark.slow
def test_a_killed_service_loses_no_acknowledged_span(own_tracking: TrackingProcess) -> None:
    with httpx.Client(base_url=own_tracking.url, timeout=10) as http:
        made = http.post("/api/2.0/mlflow/experiments/create", json={"name": f"kill {uuid4()}"})
        experiment = str(made.json()["experiment_id"])
    acknowledged: list[list[Sent]] = [[] for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [
            pool.submit(write_until_dead, own_tracking.url, experiment, acks)
            for acks in acknowledged
        ]
        deadline = time.monotonic() + 20
        while min(map(len, acknowledged)) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        own_tracking.kill()
        for future in writing:
            future.result()
    own_tracking.start()
    with httpx.Client(base_url=own_tracking.url, timeout=10) as http:
        for sent in (one for acks in acknowledged for one in acks):
            assert [span["name"] for span in stored_spans(http, sent)] == [sent.name]
