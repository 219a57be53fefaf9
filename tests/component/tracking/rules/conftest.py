"""Things that the tests of the wire's rules share."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from tests.component.tracking.rules.known import Known, made


@pytest.fixture
def known(http: httpx.Client) -> Known:
    """A fresh experiment with a run and a logged model."""
    return made(http, f"rules {uuid4()}")
