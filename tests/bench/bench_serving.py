"""What a small model costs: `python -m tests.bench.bench_serving [--seconds 5]`.

Real control process, worker, Kafka, PostgreSQL and S3, prediction log on; h2load asks (package
nghttp2-client). The load generator shares the machine, so trust CPU a request more than requests
a second. Also prints how long swaps take under that load.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from deploy.local import Backends
from deploy.local.testing import create_database, create_template, shared_backends
from headrace.events import ModelDeployed
from headrace.rpc.inference import open_inference_pb2 as oip
from tests.harness.serving_processes import Serving, serving_processes

COLUMNS = 20
URL = "http://{}/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, kw_only=True)
class Load:
    """One run of h2load: connections x streams."""

    connections: int
    streams: int


def logistic_regression(seed: int) -> bytes:
    """A 1x20 FP32 logistic regression, as the peers' figures use it."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(200, COLUMNS)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=200) > 0).astype(int)
    fitted = LogisticRegression().fit(x, y)
    data: bytes = to_onnx(
        fitted, x[:1], options={"zipmap": False}, target_opset=17
    ).SerializeToString()
    return data


def request(model: str, name: str) -> bytes:
    """A gRPC message with one row."""
    message = oip.ModelInferRequest(model_name=model, raw_input_contents=[b"\0" * 4 * COLUMNS])
    message.inputs.add(name=name, datatype="FP32", shape=[1, COLUMNS])
    body = message.SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run_load(serving: Serving, body: Path, load: Load, seconds: int) -> str:
    log = body.with_suffix(".log")
    log.unlink(missing_ok=True)
    before = cpu_seconds(serving.worker.pid)
    process = await asyncio.create_subprocess_exec(
        *("h2load", "-D", str(seconds), "--warm-up-time=1", "-t", "1"),
        *("-c", str(load.connections), "-m", str(load.streams), "-d", str(body)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers", f"--log-file={log}"),
        URL.format(serving.grpc),
        stdout=asyncio.subprocess.PIPE,
    )
    shown = (await process.communicate())[0].decode()
    spent = cpu_seconds(serving.worker.pid) - before
    times = np.array([int(line.split("\t")[2]) for line in log.read_text().splitlines()])
    rate = len(times) / seconds
    failed = re.search(r"(\d+) failed", shown)
    p50, p99 = np.percentile(times, [50, 99]) / 1000
    return (
        f"{load.connections}x{load.streams}: {rate:8.0f} req/s  p50 {p50:6.2f} ms  "
        f"p99 {p99:6.2f} ms  worker CPU {spent / max(len(times), 1) * 1e6:5.0f} us/req "
        f"(warm-up included)  failed {failed.group(1) if failed else '?'}"
    )


async def swaps(serving: Serving, model: str, count: int) -> list[tuple[float, float]]:
    """load_ms and swap_ms of `count` promotions."""
    figures = []
    for version in range(2, count + 2):
        await serving.deploy(model, version, logistic_regression(version))
        deployed = await serving.heard(ModelDeployed, partial(_is, model, version))
        figures.append((deployed.data.load_ms, deployed.data.swap_ms))
    return figures


def _is(model: str, version: int, data: ModelDeployed) -> bool:
    return data.model == model and data.version == version


async def measure(backends: Backends, front: str, seconds: int, directory: Path) -> None:
    database = await create_database(backends)
    async with serving_processes(backends, database, directory, FRONT=front) as serving:
        await serving.deploy("lr", 1, logistic_regression(1))
        body = directory / "body"
        body.write_bytes(request("lr", "X"))
        for load in (
            Load(connections=1, streams=1),
            Load(connections=8, streams=1),
            Load(connections=8, streams=8),
        ):
            print(front, await run_load(serving, body, load, seconds), flush=True)
        busy = asyncio.create_task(
            run_load(serving, body, Load(connections=8, streams=1), 2 * seconds)
        )
        figures = await swaps(serving, "lr", 5)
        print(front, "while swapping", await busy)
        for load_ms, swap_ms in figures:
            print(f"  load {load_ms:.0f} ms, swap {swap_ms:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--front", choices=["native", "grpcio"], default="native")
    arguments = parser.parse_args()
    if shutil.which("h2load") is None:
        parser.error("h2load is missing: install the package nghttp2-client")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with shared_backends(place, lambda made: asyncio.run(create_template(made))) as backends:
            asyncio.run(measure(backends, arguments.front, arguments.seconds, place))


if __name__ == "__main__":
    main()
