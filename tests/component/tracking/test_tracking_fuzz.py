"""Whatever is sent to an endpoint, the answer is a JSON object or MLflow's error JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from services.tracking.api.openapi import document
from tests.component.tracking.process import TrackingProcess
from tests.component.tracking.rules.known import made

if TYPE_CHECKING:
    from schemathesis.specs.openapi.schemas import OpenApiCase

EXAMPLES: Final = 5
MANY_EXAMPLES: Final = 150
_CODE: Final = re.compile(r"[A-Z_]+")

schema = schemathesis.openapi.from_dict(document())
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
thorough = settings(bounded, max_examples=MANY_EXAMPLES)


@pytest.fixture(scope="module")
def known(tracking: TrackingProcess) -> dict[str, str]:
    """Names of things that exist, so that not every question ends at "not found"."""
    with httpx.Client(base_url=tracking.url, timeout=20) as http:
        things = made(http, f"fuzzed {uuid4()}")
    return {
        "run_id": things.run_id,
        "model_id": things.model_id,
        "experiment_id": things.experiment_id,
    }


@schema.parametrize()
@bounded
def test_any_request_is_answered_or_refused_in_json(
    case: OpenApiCase, tracking: TrackingProcess, known: dict[str, str]
) -> None:
    check(case, tracking, known)


@pytest.mark.slow
@pytest.mark.timeout(600)
@schema.parametrize()
@thorough
def test_any_of_many_requests_is_answered_or_refused_in_json(
    case: OpenApiCase, tracking: TrackingProcess, known: dict[str, str]
) -> None:
    check(case, tracking, known)


def check(case: OpenApiCase, tracking: TrackingProcess, known: dict[str, str]) -> None:
    """Send what was drawn, then the same about things that exist."""
    assert_answered(case, tracking)
    for place in (case.body, case.query, case.path_parameters):
        if isinstance(place, dict):
            for name, value in known.items():
                if name in place:
                    place[name] = value
                if f"{name}s" in place:
                    place[f"{name}s"] = [value]
    if not case.path.endswith(("/delete", "{model_id}")):
        assert_answered(case, tracking)


def assert_answered(case: OpenApiCase, tracking: TrackingProcess) -> None:
    response = case.call(base_url=tracking.url, timeout=20)
    said = f"{case.method} {case.path}: {response.status_code} {response.text[:300]}"
    if response.status_code == 405:
        return  # a method that the path does not have
    assert response.status_code < 500, said
    answer = response.json()
    assert isinstance(answer, dict), said
    if response.status_code != 200:
        assert _CODE.fullmatch(answer["error_code"]), said
        assert answer["message"], said
