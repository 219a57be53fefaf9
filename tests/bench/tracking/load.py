"""A process that loads a server: `python -m tests.bench.tracking.load PORT LOAD`.

It makes its requests, says so with a line, starts at a line on its standard input, and ends with
one line of JSON. Nothing of it runs in the process that reads the meters.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import orjson
import uvloop

from tests.bench.tracking.connection import Connection
from tests.bench.tracking.requests import KINDS, Load


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came back; `answered` counts by connection, in the order of the load's targets."""

    seconds: float
    cpu: float
    answered: tuple[int, ...]
    milliseconds: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.milliseconds)


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A process that has its requests ready."""

    process: subprocess.Popen[bytes]

    def run(self) -> Answers:
        """All of the load. Raises AssertionError when an answer was not 200."""
        out, _ = self.process.communicate(b"go\n")
        assert self.process.returncode == 0, "the load failed; its reason stands above"
        fields = orjson.loads(out)
        return Answers(
            seconds=fields["seconds"],
            cpu=fields["cpu"],
            answered=tuple(fields["answered"]),
            milliseconds=tuple(fields["milliseconds"]),
        )


@contextmanager
def loader(port: int, load: Load) -> Iterator[Loader]:
    """The process, with its requests made."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.tracking.load", str(port)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(load.to_json() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"ready\n", "the load could not be made"
            yield Loader(process=process)
        finally:
            if process.poll() is None:
                process.kill()


async def _load(port: int, load: Load, requests: Sequence[Sequence[bytes]]) -> Answers:
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[None] = loop.create_future()

    def end(_: object = None) -> None:
        if not ending.done():
            ending.set_result(None)

    connections = [
        await _connect(port, iter(mine), more=lambda: not ending.done()) for mine in requests
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    gc.disable()
    began, cpu = time.perf_counter(), time.process_time()
    timer = loop.call_later(load.seconds, end)
    for connection in connections:
        # Where one has nothing more to send, the others stop too: the load stays what it is.
        connection.finished.add_done_callback(end)
        connection.go()
    await asyncio.gather(*(connection.finished for connection in connections))
    timer.cancel()
    return Answers(
        seconds=time.perf_counter() - began,
        cpu=time.process_time() - cpu,
        answered=tuple(len(connection.milliseconds) for connection in connections),
        milliseconds=tuple(one for each in connections for one in each.milliseconds),
    )


async def _connect(port: int, requests: Iterator[bytes], *, more: Callable[[], bool]) -> Connection:
    connection = Connection(requests, more=more)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: connection, "127.0.0.1", port)
    return connection


def main() -> None:
    load = Load.from_json(sys.stdin.readline())
    build = KINDS[load.kind]
    requests = [list(build(load, target)) for target in load.targets]
    answers = uvloop.run(_load(int(sys.argv[1]), load, requests))
    sys.stdout.write(orjson.dumps(asdict(answers)).decode())


if __name__ == "__main__":
    main()
