"""One child process: started, listened to, asked, killed. Its keeper starts the next one."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import orjson

import headrace
import services
from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.worker.sandbox import wire
from services.serving.worker.tensors import Malformed

_TAIL_BYTES: Final = 2000
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Broken(Exception):
    """The process is of no use any more; the message says what it did."""


class Child:
    """Must be made by a thread that outlives it: it is killed when that thread ends."""

    def __init__(self, path: Path, kind: Format, limits: Limits, *, first_core: int) -> None:
        self._limits = limits
        self._name = path.name
        self._calls = 0
        self._asked = False
        self._printed = b""
        self._why: str | None = None
        plan = {
            "parent": os.getpid(),
            "path": str(path),
            "format": kind.value,
            "memory": limits.memory,
            "cores": limits.cores,
            "first_core": first_core,
        }
        with ExitStack() as undo:
            self._connection, its = socket.socketpair()
            undo.callback(self._connection.close)
            with its:
                self._output, printing = os.pipe()
                undo.callback(os.close, self._output)
                os.set_blocking(self._output, False)
                try:
                    text = orjson.dumps(plan).decode()
                    self._process = _start(its.fileno(), text, printing=printing)
                finally:
                    os.close(printing)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._death = os.pidfd_open(self._process.pid)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def loaded(self) -> wire.Message:
        """What the model takes and gives. Raises Refused: it says no, dies or takes too long."""
        deadline = time.monotonic() + self._limits.load_seconds
        while not self._said_something(deadline):
            if time.monotonic() >= deadline:
                raise Refused(
                    f"{self._name} did not load within {self._limits.load_seconds:g} s in its "
                    f"sandbox{self._last_words()}"
                )
        try:
            message = wire.receive(self._connection, max_body=0, deadline=deadline)
        except (EOFError, OSError, Malformed) as error:
            raise Refused(f"loading {self._name} in its sandbox: {self._end(error)}") from error
        if "refused" in message.fields:
            raise Refused(str(message.fields["refused"]))
        return message

    def call(self, tensors: Sequence[wire.Named]) -> wire.Message:
        """Ask it. Raises Broken when it dies, hangs or talks nonsense; it is killed then."""
        deadline = time.monotonic() + self._limits.run_seconds
        self._calls += 1
        number = self._calls
        self._asked = True
        try:
            self._connection.settimeout(self._limits.run_seconds)
            wire.send(self._connection, wire.Message(fields={"call": number}, tensors=tensors))
            return self._answer_to(number, deadline)
        except TimeoutError:
            self.kill(f"did not answer within {self._limits.run_seconds:g} s and was killed")
            raise Broken(self._why) from None
        except (EOFError, OSError, Malformed) as error:
            self._why = self._end(error)
            raise Broken(self._why) from error
        finally:
            self._asked = False

    def _answer_to(self, number: int, deadline: float) -> wire.Message:
        answer = wire.receive(
            self._connection, max_body=self._limits.answer_bytes, deadline=deadline
        )
        if answer.fields.get("call") != number:
            raise Malformed("an answer to nothing that was asked")
        return answer

    def kill(self, why: str) -> None:
        """End it; `why` is what is told of it."""
        self._why = self._why or why
        self._process.kill()

    def watch(self) -> str:
        """Until it ends; returns how. What it prints is read and forgotten but for the end."""
        idle = _IdleTime(self.pid)
        while not self._is_dead(1.0):
            spent = idle.spent(self._calls, asked=self._asked)
            if spent > self._limits.idle_cpu_seconds:
                self.kill(f"spent {spent:.0f} s of CPU without being asked and was killed")
        return self._why or self._ending()

    def close(self) -> None:
        """End it if it lives, and let go of all descriptors."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        os.close(self._output)
        os.close(self._death)

    def _said_something(self, deadline: float) -> bool:
        """Whether there is something to receive, or the end."""
        seconds = max(0.0, deadline - time.monotonic())
        talking = self._connection.fileno()
        readable, _, _ = select.select([talking, self._output, self._death], [], [], seconds)
        if self._output in readable:
            self._listen()
        return talking in readable or self._death in readable

    def _is_dead(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._output, self._death], [], [], seconds)
        if self._output in readable:
            self._listen()
        return self._death in readable

    def _listen(self) -> None:
        """Read what it printed."""
        try:
            printed = os.read(self._output, 65_536)
        except BlockingIOError:
            return
        self._printed = (self._printed + printed)[-_TAIL_BYTES:]
        if not printed:
            select.select([self._death], [], [], 1.0)  # it closed its output: do not spin

    def _end(self, error: BaseException) -> str:
        """What became of it, after talking to it failed so."""
        if isinstance(error, Malformed):
            self._process.kill()
            return f"it said nonsense and was killed: {error}"
        select.select([self._death], [], [], 1.0)
        self._process.kill()
        return self._why or self._ending()

    def _ending(self) -> str:
        status = self._process.wait()
        if status < 0:
            ending = f"it died of {signal.Signals(-status).name}"
        else:
            ending = f"it ended with status {status}"
        return ending + self._last_words()

    def _last_words(self) -> str:
        self._listen()
        lines = self._printed.decode(errors="replace").strip().splitlines()
        shown = (
            "".join(letter for letter in lines[-1][:200] if letter.isprintable()) if lines else ""
        )
        return f" (last output: {shown})" if shown else ""


class _IdleTime:
    """CPU time spent while no call came, in a row."""

    def __init__(self, pid: int) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._calls = 0
        self._since = self._cpu()

    def spent(self, calls: int, *, asked: bool) -> float:
        """Seconds; `calls` is how many there have been, `asked` whether one is in hand."""
        now = self._cpu()
        if asked or calls != self._calls:
            self._calls, self._since = calls, now
        return now - self._since

    def _cpu(self) -> float:
        try:
            fields = self._stat.read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS


def _start(descriptor: int, plan: str, *, printing: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-m", "services.serving.worker.sandbox.child",
         str(descriptor), plan],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=printing,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )  # fmt: skip


def _environment() -> dict[str, Any]:
    """Nothing of the worker's: there may be secrets in it."""
    places = [Path(entry).parent for entry in (*headrace.__path__, *services.__path__)]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, places))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLFLOW_TRACKING_URI": "sqlite://",
        **dict.fromkeys(threads, "1"),
    }
