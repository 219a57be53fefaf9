"""What the fluent client keeps between calls does not outlive a test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import mlflow
import pytest


@pytest.fixture(autouse=True)
def _no_experiment_afterwards() -> Iterator[None]:
    yield
    mlflow.tracking.fluent._active_experiment_id = None
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
