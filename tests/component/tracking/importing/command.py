"""`headrace import` as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[4]


def begin(*arguments: str | Path, url: str) -> subprocess.Popen[str]:
    """Start the command; its report comes as JSON."""
    path = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "shared")])
    return subprocess.Popen(
        [sys.executable, *("-m", "headrace.cli", "import"), *arguments, "--url", url, "--json"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str | Path, url: str, code: int = 0) -> dict[str, Any]:
    """The report of an import that ends with this exit code."""
    process = begin(*arguments, url=url)
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, (process.returncode, out, err)
    report: dict[str, Any] = json.loads(out) if out else {"error": err}
    return report
