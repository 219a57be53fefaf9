"""`make bench-serving`: every promise of serving's speed, beside MLServer and KServe's own server.

Real control process, worker, Kafka, PostgreSQL and S3; the prediction log is on unless told. All
shares two cores with the load generator: trust CPU a request and ratios more than requests a
second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from deploy.local import Backends
from deploy.local.testing import create_database, create_template, shared_backends
from headrace.events import FirstAnswerServed
from tests.bench.serving.checking import check, labels
from tests.bench.serving.figures import PEERS, Row, table
from tests.bench.serving.models import fitted, message
from tests.bench.serving.open_loop import Paced, pace
from tests.bench.serving.peers import running
from tests.bench.serving.restart import killed_under_load
from tests.bench.serving.saturated import Saturated, cpu_seconds, saturate
from tests.bench.tracking.figures import Goal
from tests.bench.tracking.meter import resident
from tests.harness.bus import until
from tests.harness.serving_processes import QUIET_TOPICS, Serving, serving_processes

PHASES: Final = ("saturated", "open_loop", "swap", "log", "memory", "restart")
_RATE: Final = 2000.0
_SWAP_SECONDS: Final = 2.0
_SHAPES: Final = {"ours": (8, 8), "mlserver": (4, 4), "kserve": (4, 4)}
"""Connections and streams at which each server answers most."""


class Bench:
    """What is measured, and the lines of the table so far."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.seconds: int = options.seconds
        self.only: Sequence[str] = options.only or PHASES
        self.rows: list[Row] = []
        self.saturated: dict[tuple[str, str], Saturated] = {}
        self.paced: dict[str, Paced] = {}
        self.memory: dict[str, float] = {}

    def body(self, model: str) -> Path:
        path = self.directory / f"{model}.body"
        path.write_bytes(message(model))
        return path

    def saturate(self, server: str, address: str, pid: int, model: str) -> Saturated:
        """A warm run and one that counts, answers checked before and after."""
        check(address, fitted(model))
        connections, streams = _SHAPES[server]

        def once(seconds: int) -> Saturated:
            return saturate(
                address,
                self.body(model),
                connections=connections,
                streams=streams,
                seconds=seconds,
                spent=partial(cpu_seconds, pid),
            )

        once(1)
        found = once(self.seconds)
        check(address, fitted(model))
        print(f"  {server} {model}: {found}", flush=True)
        return found

    def pace(self, server: str, address: str) -> None:
        found = pace(address, message("lr"), rate=_RATE, seconds=self.seconds)
        _check_labels(found, {1: fitted("lr").label})
        self.paced[server] = found
        shown = f"p50 {found.at(50):.2f} ms p99 {found.at(99):.2f} ms missing {found.missing}"
        print(f"  {server} at {_RATE:.0f}/s: {shown}", flush=True)

    def peer(self, name: str) -> None:
        """Saturated on both models, and the fixed rate on the first."""
        for model in ("lr", "forest"):
            with running(name, fitted(model), self.directory) as peer:
                if "saturated" in self.only:
                    found = self.saturate(name, peer.address, peer.pid, model)
                    self.saturated[name, model] = found
                if model == "lr" and "open_loop" in self.only:
                    self.pace(name, peer.address)
                if model == "lr":
                    self.memory[name] = resident(peer.pid) / 1e6

    async def ours(self, backends: Backends) -> None:
        async with AsyncExitStack() as stack:
            serving = await stack.enter_async_context(await self._processes(backends))
            for model in ("lr", "forest"):
                await serving.deploy(model, 1, fitted(model).onnx)
            pid = serving.worker.pid
            for model in ("lr", "forest"):
                if "saturated" in self.only:
                    found = await asyncio.to_thread(self.saturate, "ours", serving.grpc, pid, model)
                    self.saturated["ours", model] = found
            if "open_loop" in self.only or "swap" in self.only:
                await asyncio.to_thread(self.pace, "ours", serving.grpc)
            if "swap" in self.only:
                await self._swap(serving)
            self.memory["ours"] = resident(pid) / 1e6
            if "restart" in self.only:
                self.rows += await killed_under_load(serving)
        if "log" in self.only:
            await self._log_cost(backends)

    async def _processes(
        self, backends: Backends, **settings: str
    ) -> AbstractAsyncContextManager[Serving]:
        database = await create_database(backends)
        place = Path(tempfile.mkdtemp(dir=self.directory))
        return serving_processes(backends, database, place, QUIET_TOPICS, **settings)

    async def _swap(self, serving: Serving) -> None:
        """Another version every two seconds under the same rate."""
        count = max(3, round(self.seconds / _SWAP_SECONDS))
        seconds = count * _SWAP_SECONDS
        models = {version: fitted("lr", seed=version) for version in range(1, count + 2)}
        graphs = {version: one.onnx for version, one in models.items() if version > 1}
        load = asyncio.create_task(
            asyncio.to_thread(pace, serving.grpc, message("lr"), rate=_RATE, seconds=seconds)
        )
        swaps = []
        for version, onnx in graphs.items():
            turn = asyncio.create_task(asyncio.sleep(_SWAP_SECONDS))
            swaps.append(await _promoted_to_answer(serving, version, onnx))
            await turn
        found = await load
        _check_labels(found, {version: one.label for version, one in models.items()})
        shown = ", ".join(f"{each:.0f}" for each in swaps)
        print(
            f"  swaps: {shown} ms, p99 {found.at(99):.2f} ms, missing {found.missing}", flush=True
        )
        steady = self.paced["ours"].at(99)
        goal = Goal(better="less", must=0)
        self.rows.append(
            Row(what="swap every 2 s: failures", unit="", ours=found.missing, goal=goal)
        )
        goal = Goal(better="less", must=1.2)
        what = "swap every 2 s: p99 beside steady"
        self.rows.append(Row(what=what, unit="x", ours=found.at(99) / steady, goal=goal))
        goal = Goal(better="less", must=250, aim=100)
        what = "ModelPromoted to first answer, p99"
        p99 = float(np.percentile(swaps, 99))
        self.rows.append(Row(what=what, unit="ms", ours=p99, goal=goal))

    async def _log_cost(self, backends: Backends) -> None:
        """Throughput with the log, and with one that drops all but a row; runs in turns."""
        rates: dict[str, list[float]] = {"500000": [], "1": []}
        for rows in ("500000", "1", "1", "500000"):
            async with await self._processes(backends, LOG_MAX_ROWS=rows) as serving:
                await serving.deploy("lr", 1, fitted("lr").onnx)
                found = await asyncio.to_thread(
                    self.saturate, "ours", serving.grpc, serving.worker.pid, "lr"
                )
                rates[rows].append(found.per_second)
        cost = 100 * (1 - np.mean(rates["500000"]) / np.mean(rates["1"]))
        goal = Goal(better="less", must=10, aim=5)
        what = "prediction log's cost in throughput"
        self.rows.append(Row(what=what, unit="%", ours=float(cost), goal=goal))

    def finish(self) -> list[Row]:
        """All lines, those beside the peers first."""
        rows: list[Row] = []
        for model, goal in (
            ("lr", Goal(better="more", must=15_000, aim=25_000, ratio=7)),
            ("forest", Goal(better="more", ratio=35, aim=None)),
        ):
            rows += self._beside(f"{model} saturated", "req/s", model, _per_second, goal)
        goal = Goal(better="less", must=80, aim=40)
        rows += self._beside("server CPU a request, lr", "us", "lr", _cpu, goal)
        rows += self._beside(
            "server CPU a request, forest", "us", "forest", _cpu, Goal(better="less")
        )
        for percentile, must, aim in ((50, 0.4, 0.25), (99, 2.0, 1.0)):
            if "ours" in self.paced:
                rows.append(
                    Row(
                        what=f"p{percentile} at 2,000 req/s",
                        unit="ms",
                        ours=self.paced["ours"].at(percentile),
                        peers={p: self.paced[p].at(percentile) for p in PEERS if p in self.paced},
                        goal=Goal(better="less", must=must, aim=aim),
                    )
                )
        if "memory" in self.only:
            peers = {peer: self.memory[peer] for peer in PEERS if peer in self.memory}
            goal = Goal(better="less", must=120)
            what = "resident memory of a worker"
            rows.append(Row(what=what, unit="MB", ours=self.memory["ours"], peers=peers, goal=goal))
        return [*rows, *self.rows]

    def _beside(
        self,
        what: str,
        unit: str,
        model: str,
        value: Callable[[Saturated], float],
        goal: Goal | None,
    ) -> list[Row]:
        if ("ours", model) not in self.saturated:
            return []
        found = {
            server: value(one) for (server, asked), one in self.saturated.items() if asked == model
        }
        ours = found.pop("ours")
        return [Row(what=what, unit=unit, ours=ours, peers=found, goal=goal)]


def _per_second(found: Saturated) -> float:
    return found.per_second


def _cpu(found: Saturated) -> float:
    return found.cpu_us


def _check_labels(found: Paced, expected: Mapping[int, int]) -> None:
    """Every version answered, and with its own label; a peer may not say which version it is."""
    wanted = {(str(version), label) for version, label in expected.items()}
    got = {
        (version or "1", label)
        for version, several in labels(found.answers).items()
        for label in several
    }
    if got != wanted:
        raise RuntimeError(f"answers (version, label) {sorted(got)}, expected {sorted(wanted)}")


async def _promoted_to_answer(serving: Serving, version: int, onnx: bytes) -> float:
    """Milliseconds from ModelPromoted to the first answer of a version that was made ready."""
    files = await serving.upload(onnx)
    turn = await serving.request("lr", version, files)
    async with httpx.AsyncClient() as http:
        await until(
            lambda: _is_loaded(http, serving, version), seconds=60, what=f"lr v{version} loaded"
        )
    promoted_at = datetime.now(UTC)
    await serving.promote("lr", version, files, turn=turn)
    first = await serving.heard(
        FirstAnswerServed, lambda data: data.model == "lr" and data.version == version
    )
    return (first.data.served_at - promoted_at).total_seconds() * 1e3


async def _is_loaded(http: httpx.AsyncClient, serving: Serving, version: int) -> bool:
    await asyncio.sleep(0.05)
    status = (await http.get(f"{serving.worker.url}/api/serving/v1/worker")).json()
    return any(entry["name"] == "lr" and version in entry["loaded"] for entry in status["models"])


def main() -> None:
    options = _options()
    if shutil.which("h2load") is None:
        sys.exit("h2load is missing: install the package nghttp2-client")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        bench = Bench(place, options)
        with shared_backends(place, lambda made: asyncio.run(create_template(made))) as backends:
            asyncio.run(bench.ours(backends))
        for name in PEERS if options.peer else ():
            try:
                bench.peer(name)
            except RuntimeError as why:
                print(f"  {name} SKIPPED: {why}", flush=True)
    rows = bench.finish()
    print(f"\n{table(rows)}\n\nload {os.getloadavg()[0]:.1f} after")
    if options.json:
        found = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]
        options.json.write_text(json.dumps(found, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PHASES, help="these phases alone")
    parser.add_argument("--seconds", type=int, default=5, help="length of one load (5)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="ours alone")
    parser.add_argument("--json", type=Path, help="also write the table here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
