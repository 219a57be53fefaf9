"""As many requests as a server takes, by h2load (package nghttp2-client)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.tracking.meter import Roots

PATH: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, kw_only=True)
class Saturated:
    """What one run came to; CPU is the server's alone, microseconds a request."""

    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def cpu_seconds(pid: int) -> float:
    """Spent so far by a process and those that it started."""
    return Roots(service=pid, postgres=pid).spent().service


def saturate(
    address: str,
    body: Path,
    *,
    connections: int,
    streams: int,
    seconds: int,
    spent: Callable[[], float],
) -> Saturated:
    """Ask without a pause; `spent` is the server's CPU seconds so far."""
    log = body.with_suffix(".log")
    log.unlink(missing_ok=True)
    command = ["h2load", "-D", str(seconds), "-t", "1", "-c", str(connections)]
    command += ["-m", str(streams), "-d", str(body), f"--log-file={log}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    before = spent()
    shown = subprocess.run(
        [*command, f"http://{address}{PATH}"], capture_output=True, text=True, check=True
    ).stdout
    cpu = spent() - before
    if (found := re.search(r"(\d+) succeeded, (\d+) failed", shown)) is None:
        raise RuntimeError(f"h2load said nothing of its requests: {shown}")
    done, failed = map(int, found.groups())
    if failed or not done:
        raise RuntimeError(f"{failed} of {done + failed} requests failed")
    times = np.array([int(line.split("\t")[2]) for line in log.read_text().splitlines()]) / 1000
    p50, p99 = np.percentile(times, [50, 99])
    return Saturated(
        per_second=done / seconds, cpu_us=cpu / done * 1e6, p50_ms=float(p50), p99_ms=float(p99)
    )
