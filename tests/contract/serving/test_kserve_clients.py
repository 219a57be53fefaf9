"""KServe's own Python clients, unmodified, from an environment of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.serving.worker.fronts import Front
from tests.bench.serving.peers import environment
from tests.harness.serving_processes import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCORES = [["101.5"], ["202.5"]]
CALLS = CHECKOUT / "tests" / "harness" / "kserve_calls.py"


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """Python with KServe; made the first time it is needed."""
    return environment("kserve")


@pytest.fixture(scope="module")
def of_grpc(interpreter: Path, front: Front) -> Any:
    return _told(interpreter, "grpc", f"127.0.0.1:{front.port}")


@pytest.fixture(scope="module")
def of_rest(interpreter: Path, rest: str) -> Any:
    return _told(interpreter, "rest", rest)


@pytest.mark.parametrize("form", ["raw", "typed"])
def test_grpc_client_gets_predictions(of_grpc: Any, form: str) -> None:
    assert of_grpc[form]["outputs"]["score"] == SCORES
    assert _named(of_grpc[form]) == ("of-kserve", "flights", "1")


@pytest.mark.parametrize("form", ["raw", "typed"])
def test_rest_client_gets_predictions(of_rest: Any, form: str) -> None:
    assert of_rest[form]["outputs"]["score"] == SCORES
    # This client keeps no version of the answers that it reads.
    assert _named(of_rest[form])[:2] == ("of-kserve", "flights")


def test_grpc_client_sees_health(of_grpc: Any) -> None:
    assert _health(of_grpc) == (True, True, True, False)


def test_rest_client_sees_health(of_rest: Any) -> None:
    assert _health(of_rest) == (True, True, True, False)


def test_grpc_client_is_told_what_is_wrong(of_grpc: Any) -> None:
    assert "Request for unknown model: 'nope' is not found" in of_grpc["error"]


def test_rest_client_is_told_what_is_wrong(of_rest: Any) -> None:
    assert "Request for unknown model: 'nope' is not found" in of_rest["error"]
    assert "404" in of_rest["error"]


def _told(interpreter: Path, transport: str, address: str) -> Any:
    ran = subprocess.run(
        [interpreter, CALLS, transport, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


def _named(answer: Any) -> tuple[str, str, str]:
    return answer["id"], answer["model"], answer["version"]


def _health(told: Any) -> tuple[bool, bool, bool, bool]:
    return told["live"], told["ready"], told["model"], told["unknown"]
