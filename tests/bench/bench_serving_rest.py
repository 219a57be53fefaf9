"""What a REST prediction costs: `python -m tests.bench.bench_serving_rest [--seconds 5]`.

A logistic regression, one row of 20 FP32, one kept connection to a process of its own that runs the
worker's REST side in the HTTP server of every service; the prediction log is filled, not shipped.
The client is a bare socket, so that most of what is measured is the server.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tests.bench.serving.models import COLUMNS, fitted
from tests.bench.serving.saturated import cpu_seconds
from tests.harness.data_plane import data_plane

_HEADER = "inference-header-content-length"


def serve(connection: Connection) -> None:
    """The child: answers until the parent says a word."""
    with tempfile.TemporaryDirectory() as directory:
        plane = data_plane(Path(directory))
        plane.answer_with({"lr": plane.load("lr", 1, fitted("lr", seed=1).onnx)})
        with plane.listening_rest() as address:
            connection.send(address)
            connection.recv()


def requests() -> dict[str, bytes]:
    """Whole HTTP requests by their names."""
    row = np.linspace(-1, 1, COLUMNS, dtype=np.float32)
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, COLUMNS]}
    head = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": row.nbytes}}],
        "parameters": {"binary_data_output": True},
    }
    document = json.dumps(head).encode()
    as_json = json.dumps({"inputs": [{**tensor, "data": row.tolist()}]}).encode()
    return {
        "binary": _http(document + row.tobytes(), f"{_HEADER}: {len(document)}\r\n"),
        "JSON": _http(as_json, ""),
        "raw body": _http(row.tobytes(), f"{_HEADER}: 0\r\n"),
    }


def _http(body: bytes, header: str) -> bytes:
    lines = f"POST /v2/models/lr/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    return f"{lines}{header}\r\n".encode() + body


def ask(connection: socket.socket, request: bytes) -> bytes:
    """One answer's head; reads all of its body."""
    connection.sendall(request)
    got = connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    return head


def measure(address: str, pid: int, name: str, request: bytes, seconds: float) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(200):
            head = ask(connection, request)
            assert head.startswith(b"HTTP/1.1 200"), head
        before, began = cpu_seconds(pid), time.perf_counter()
        times: list[float] = []
        while (now := time.perf_counter()) < began + seconds:
            ask(connection, request)
            times.append(time.perf_counter() - now)
        spent = cpu_seconds(pid) - before
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    print(
        f"{name:8}: {len(times) / seconds:7.0f} req/s  p50 {p50:.2f} ms  p99 {p99:.2f} ms  "
        f"server CPU {spent / len(times) * 1e6:4.0f} us/req"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    seconds = parser.parse_args().seconds
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=serve, args=(theirs,))
    child.start()
    address = ours.recv()
    print(f"load average {os.getloadavg()[0]:.1f}")
    for name, request in requests().items():
        measure(address, child.pid or 0, name, request, seconds)
    ours.send("enough")
    child.join()


if __name__ == "__main__":
    main()
