"""MLServer and KServe's own server, each in an environment that is made under the cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.bench.serving.models import Fitted

_CACHE: Final = Path(__file__).parents[3] / ".cache" / "bench-peers"
_START_SECONDS: Final = 90.0
_KSERVE: Final = Path(__file__).with_name("kserve_server.py")
PACKAGES: Final = {
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"),
    "kserve": ("kserve==0.21.0", "joblib"),
}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A running server; its CPU and memory are those of its tree of processes."""

    name: str
    pid: int
    address: str


def environment(name: str) -> Path:
    """The interpreter of a peer. Raises RuntimeError when it cannot be installed, saying why."""
    place = _CACHE / name
    python = place / "bin" / "python"
    done = place / "installed"
    if done.is_file():
        return python
    uv = Path(sys.executable).with_name("uv")
    packages = [*PACKAGES[name], f"scikit-learn=={version('scikit-learn')}"]
    subprocess.run([uv, "venv", "--quiet", "--clear", place], check=True)
    made = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RuntimeError(f"uv cannot install {' '.join(packages)}: {made.stderr[-300:].strip()}")
    done.touch()
    return python


@contextlib.contextmanager
def running(name: str, fitted: Fitted, directory: Path) -> Iterator[Peer]:
    """The peer with one model. Raises RuntimeError when it does not come up."""
    python = environment(name)
    model = fitted.write(directory)
    http, grpc, metrics = _free_ports(3)
    if name == "mlserver":
        command = _mlserver(python, model, fitted, directory, http, grpc, metrics)
    else:
        ports = ["--http_port", str(http), "--grpc_port", str(grpc)]
        command = [str(python), str(_KSERVE), str(model), fitted.name, *ports]
    log = directory / f"{name}.log"
    with log.open("wb") as shown:
        process = subprocess.Popen(
            command, stdout=shown, stderr=shown, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        _wait(process, grpc, log)
        yield Peer(name=name, pid=process.pid, address=f"127.0.0.1:{grpc}")
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _mlserver(
    python: Path, model: Path, fitted: Fitted, directory: Path, http: int, grpc: int, metrics: int
) -> list[str]:
    folder = directory / f"mlserver-{fitted.name}"
    folder.mkdir(exist_ok=True)
    implementation = "mlserver_sklearn.SKLearnModel"
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": fitted.name,
                "implementation": implementation,
                "parameters": {"uri": str(model)},
            }
        )
    )
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "http_port": http,
                "grpc_port": grpc,
                "metrics_port": metrics,
                "parallel_workers": 0,
                "debug": False,
                "host": "127.0.0.1",
            }
        )
    )
    return [str(python.with_name("mlserver")), "start", str(folder)]


def _free_ports(count: int) -> list[int]:
    """Below the ephemeral range."""
    with contextlib.ExitStack() as probes:
        ports: list[int] = []
        for port in range(18000 + os.getpid() % 1500, 20000):
            probe = probes.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError("no free ports")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(1)
            return
        time.sleep(0.1)
    raise RuntimeError(f"{log.stem} did not start: {log.read_text()[-500:]}")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(environment(wanted))
