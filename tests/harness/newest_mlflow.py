"""A client of the newest MLflow, which the environment of the tests cannot hold."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

CHECKOUT = Path(__file__).parents[2]
LOCK = CHECKOUT / "requirements-mlflow.lock"


def newest_mlflow() -> Path:
    """The directory that holds it, installed by its lock if it is not there yet."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    target = CHECKOUT / ".cache" / "newest-mlflow" / digest
    done = target / "installed"
    if not done.exists():
        options = ["--quiet", "--no-deps", "--require-hashes", "--upgrade"]
        command = [sys.executable, "-m", "pip", "install", *options]
        subprocess.run([*command, "--target", str(target), "-r", str(LOCK)], check=True)
        done.touch()
    return target


def run_newest(script: Path, *arguments: str, environment: Mapping[str, str]) -> dict[str, object]:
    """Run a script with the newest MLflow; returns the JSON object of its last line."""
    variables = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(newest_mlflow()),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return cast("dict[str, object]", json.loads(done.stdout.strip().splitlines()[-1]))
