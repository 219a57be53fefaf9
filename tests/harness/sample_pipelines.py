"""Small pipelines that the tests run on real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.errors import Refused
from headrace.pipelines import Retry, StepContext, pipeline, step


class Made(NamedTuple):
    """Several outputs of one step."""

    table: pa.Table
    weights: np.ndarray
    note: str


@step
def make(context: StepContext, rows: int) -> Made:
    context.log("making", rows=rows)
    numbers = np.random.default_rng(context.seed).random(rows)
    return Made(pa.table({"x": numbers}), numbers * 2, "made")


@step
def total(table: pa.Table, weights: np.ndarray, note: str) -> dict[str, float]:
    assert note == "made"
    return {"x": float(np.sum(table["x"].to_numpy())), "weights": float(weights.sum())}


@step
def write_down(totals: dict[str, float], name: str) -> bytes:
    return f"{name}: {totals['weights'] / totals['x']:.1f}".encode()


@pipeline(name="sum", preload=["pyarrow", "numpy"])
def summing(rows: int = 1000, name: str = "ratio") -> None:
    made = make(rows)
    totals = total(made.table, made.weights, made.note)
    write_down(totals, name)


@step(retry=Retry(attempts=3, backoff=0.05))
def flaky(context: StepContext, fail_until: int, how: str) -> int:
    if context.attempt < fail_until:
        if how == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "refused":
            raise Refused("this never works")
        raise OSError(f"attempt {context.attempt} fails")
    return context.attempt


@step
def after(attempt: int) -> int:
    return attempt


@pipeline(name="flaky")
def flaky_pipeline(fail_until: int = 3, how: str = "error") -> None:
    after(flaky(fail_until, how))


@step(timeout="60s")
def wait_for(context: StepContext, path: str) -> str:
    context.log("waiting", path=path)
    while not Path(path).exists():
        time.sleep(0.01)
    return Path(path).read_text()


@pipeline(name="waiting")
def waiting(path: str) -> None:
    wait_for(path)


@step(timeout="300ms", retry=Retry(attempts=1))
def too_slow() -> None:
    time.sleep(30)


@pipeline(name="too-slow")
def too_slow_pipeline() -> None:
    too_slow()


@step
def look(context: StepContext, path: str) -> dict[str, str]:
    """How each way of opening `path` ends."""
    ways = {
        "python": lambda: Path(path).read_bytes(),
        "pyarrow": lambda: pa.OSFile(path).read(),
        "memory map": lambda: pa.memory_map(path).read(),
        "subprocess": lambda: subprocess.run(["cat", path], check=True, capture_output=True),
        "listing": lambda: list(Path(path).parent.iterdir()),
        "writing": lambda: Path(path).write_bytes(b"changed"),
        "environment": _secrets,
        "scratch": lambda: (context.scratch / "own").write_text("mine"),
    }
    return {name: _outcome(way) for name, way in ways.items()}


@pipeline(name="looking")
def looking(path: str) -> None:
    look(path)


@step
def use(table: pa.Table, opened: str) -> int:
    rows: int = table.num_rows
    return len(opened) + rows


@pipeline(name="damaged")
def damaged(path: str) -> None:
    made = make(10)
    use(made.table, wait_for(path))


def _outcome(way: object) -> str:
    assert callable(way)
    try:
        way()
    except (OSError, subprocess.CalledProcessError, PermissionError) as error:
        return type(error).__name__
    return "allowed"


def _secrets() -> None:
    """Succeeds if a setting of the worker can be seen: its own, or in another process."""
    if not [name for name in os.environ if name.startswith("HEADRACE_")]:
        Path(f"/proc/{os.getppid()}/environ").read_bytes()


@step(retry=Retry(attempts=3, backoff=0.05))
def forge(context: StepContext, target: str, how: str) -> bytes:
    """Say to the worker that the output is `target`, without the runtime's help."""
    link = context.scratch / "outputs" / "result"
    if how == "symlink":
        link.symlink_to(target)
    output = {"kind": "bytes", "value": None, "file": link.name if how == "symlink" else target}
    channel = vars(context.host)["_channel"]
    channel.send(
        {"type": "result", "ok": True, "outputs": {"result": output}}
        | {"datasets": [], "promotions": []}
    )
    time.sleep(30)
    return b""


@pipeline(name="forging")
def forging(target: str, how: str) -> None:
    forge(target, how)


@step
def stamp() -> float:
    """When user code runs, wall clock."""
    return time.time()


@pipeline(name="stamping")
def stamping() -> None:
    stamp()
