"""More workers of one control process, each under the supervision that the local stack has."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.local.probes import answers
from deploy.local.process import ProcessSpec, SupervisedProcess
from tests.harness.serving_processes import CHECKOUT, Serving, free_ports


@dataclass(frozen=True, kw_only=True)
class SupervisedWorker:
    """A worker that is started again when it dies."""

    process: SupervisedProcess
    http: str
    grpc: str


@asynccontextmanager
async def supervised_workers(
    serving: Serving, count: int, *, shared_port: bool = False
) -> AsyncIterator[list[SupervisedWorker]]:
    """So many, ready; each has a gRPC port of its own unless all listen on one."""
    *ports, shared = free_ports(2 * count + 1)
    workers = [
        _worker(serving, number, http, shared if shared_port else grpc, shared_port=shared_port)
        for number, (http, grpc) in enumerate(zip(ports[::2], ports[1::2], strict=True), 1)
    ]
    processes = [worker.process for worker in workers]
    try:
        await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes))
        yield workers
    finally:
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in processes))


def _worker(
    serving: Serving, number: int, http: int, grpc: int, *, shared_port: bool
) -> SupervisedWorker:
    directory = serving.worker.log.parent
    for folder in ("logs", "run"):
        (directory / folder).mkdir(exist_ok=True)
    own = {
        "INSTANCE": str(number),
        "WORKER_HTTP_PORT": str(http),
        "GRPC_PORT": str(grpc),
        "GRPC_SHARED_PORT": str(shared_port),
    }
    spec = ProcessSpec(
        name=f"serving-worker-{number}",
        argv=(sys.executable, "-m", "services.serving", "worker"),
        env=serving.worker.env | {f"HEADRACE_SERVING_{name}": own[name] for name in own},
        cwd=CHECKOUT,
        ready=lambda: answers(http, "/readyz"),
    )
    return SupervisedWorker(
        process=SupervisedProcess(spec, directory=directory),
        http=f"127.0.0.1:{http}",
        grpc=f"127.0.0.1:{grpc}",
    )
