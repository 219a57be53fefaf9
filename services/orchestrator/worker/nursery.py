"""The supervisor's side of the zygote: a process that forks a child for every step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headrace.errors import Transient
from headrace.runtime.telemetry import Log

_PACKET: Final = 1 << 20
_RESTART_SECONDS: Final = 1.0
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT")
_SET_VARIABLES: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(kw_only=True)
class Child:
    """A step's process: its end is known as soon as it happens."""

    name: str
    pid: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None

    def kill(self) -> None:
        """SIGKILL to the process and all that it started."""
        if self.pid and not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    @property
    def how_it_ended(self) -> str:
        """For people."""
        if self.status is None:
            return "the process that started it died"
        if os.WIFSIGNALED(self.status):
            return f"killed by {signal.Signals(os.WTERMSIG(self.status)).name}"
        return f"exit status {os.WEXITSTATUS(self.status)}"


@dataclass(kw_only=True)
class Nursery:
    """Keeps one zygote running.

    `hello` is what it said: plans, environment and readable paths once it has `loaded` the
    pipelines; how it starts steps once it is `ready` for them.
    """

    modules: Sequence[str]
    log: Log
    hello: dict[str, Any] = field(default_factory=dict)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _control: socket.socket | None = None
    _children: dict[str, Child] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled; a zygote that died is started again."""
        while True:
            await self._one_life()
            await asyncio.sleep(_RESTART_SECONDS)

    async def start(self, name: str, channel: socket.socket) -> Child:
        """A child that serves `channel`, which is closed here. Raises Transient."""
        await self.ready.wait()
        child = Child(name=name)
        self._children[name] = child
        try:
            packet = json.dumps({"start": name}).encode()
            socket.send_fds(self._connected(), [packet], [channel.fileno()])
        except OSError as error:
            del self._children[name]
            raise Transient(f"the zygote cannot start a step: {error}") from error
        finally:
            channel.close()
        await child.started.wait()
        return child

    def _connected(self) -> socket.socket:
        if self._control is None:
            raise ConnectionError("there is no zygote now")
        return self._control

    async def _one_life(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headrace.pipelines.zygote",
            str(theirs.fileno()),
            ",".join(self.modules),
            pass_fds=[theirs.fileno()],
            env=_environment(os.environ),
        )
        theirs.close()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        self._control = ours
        loop.add_reader(ours.fileno(), self._receive, ours)
        try:
            status = await process.wait()
            self.log.error("zygote_died", status=status)
        finally:
            loop.remove_reader(ours.fileno())
            ours.close()
            self._forget()
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _receive(self, control: socket.socket) -> None:
        while True:
            try:
                packet = control.recv(_PACKET)
            except (BlockingIOError, OSError):
                return
            if not packet:
                return
            self._take(json.loads(packet))

    def _take(self, message: Mapping[str, Any]) -> None:
        if message.get("loaded"):
            self.hello = dict(message)
            self.loaded.set()
        elif message.get("ready"):
            self.hello |= message
            self.ready.set()
            self.log.info(
                "ready_for_steps",
                mode=message["mode"],
                threads=message["threads"],
                seconds=message["seconds"],
            )
        elif "started" in message:
            child = self._children[message["started"]]
            child.pid = message["pid"]
            child.started.set()
        elif "exited" in message:
            child = self._children.pop(message["exited"])
            child.status = message["status"]
            child.started.set()
            child.ended.set()

    def _forget(self) -> None:
        self.ready.clear()
        self._control = None
        for child in self._children.values():
            child.started.set()
            child.ended.set()
        self._children.clear()


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """What steps see: no setting of ours, so no credential."""
    kept = {name: own[name] for name in _KEPT_VARIABLES if name in own}
    paths = [str(Path(entry).absolute()) for entry in own.get("PYTHONPATH", "").split(os.pathsep)]
    return kept | _SET_VARIABLES | {"PYTHONPATH": os.pathsep.join(paths)}
