"""Calls that prepare a phase and check what it left, the same for both servers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

import httpx
import orjson

from tests.bench.tracking.requests import API
from tests.bench.tracking.servers import Server

_PAGE: Final = "100000"


def experiment(server: Server) -> str:
    """The id of a fresh one."""
    made = call(server, "experiments/create", {"name": f"bench {uuid4().hex}"})
    return str(made["experiment_id"])


def new_runs(server: Server, count: int) -> tuple[str, ...]:
    """Ids of fresh runs of one experiment."""
    home = experiment(server)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        answers = [
            http.post(f"{API}/runs/create", json={"experiment_id": home, "start_time": number})
            for number in range(count)
        ]
    return tuple(str(answer.json()["run"]["info"]["run_id"]) for answer in answers)


def call(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One POST that must be taken."""
    answer = httpx.post(f"{server.url}{API}/{path}", json=body, timeout=60)
    assert answer.status_code == httpx.codes.OK, answer.text[:500]
    found: dict[str, Any] = answer.json()
    return found


def stored(server: Server, run_id: str, key: str) -> int:
    """How many points of a metric are there, asked for in pages as the client does."""
    query, count = {"run_id": run_id, "metric_key": key, "max_results": _PAGE}, 0
    with httpx.Client(base_url=server.url, timeout=120) as http:
        while True:
            answer = http.get(f"{API}/metrics/get-history", params=query)
            assert answer.status_code == httpx.codes.OK, answer.text[:500]
            found = orjson.loads(answer.content)
            count += len(found.get("metrics", ()))
            if not found.get("next_page_token"):
                return count
            query["page_token"] = found["next_page_token"]


def check_stored(
    server: Server, expected: Iterable[tuple[str, int]], *, keys: Iterable[str]
) -> None:
    """Raises AssertionError unless each run holds exactly so many points of each key."""
    wanted = list(keys)
    for run_id, points in expected:
        for key in wanted:
            found = stored(server, run_id, key)
            assert found == points, (
                f"{server.name}: run {run_id} holds {found} points of {key},"
                f" {points} were acknowledged"
            )
