"""A process that has imported the pipelines once and forks a child for every step.

It stays single-threaded, so that a fork copies a sane process. If an import started a thread, it
says so and starts a fresh interpreter for every step instead. It ends when its supervisor does,
and its children end with it.

Control socket (SOCK_SEQPACKET, one JSON document a packet)
    -> {"start": <id>} with one descriptor: the child's end of its channel
    <- {"loaded": true, "plans": [...], "environment": {...}, "readable": [...]}
    <- {"ready": true, "mode": "fork" | "spawn", "threads": [...], "seconds": ...}
    <- {"started": <id>, "pid": <pid>}      <- {"exited": <id>, "status": <wait status>}
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from headrace.pipelines import child
from headrace.pipelines.authoring import Pipeline
from headrace.pipelines.manifest import environment
from headrace.pipelines.sandbox import interpreter_paths, package_paths

_PACKET: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1
# jemalloc's own thread (inside pyarrow) handles forks by itself (pthread_atfork).
_HARMLESS_THREADS: Final = frozenset({"jemalloc_bg_thd"})


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Import, say hello, then fork on demand until the supervisor is gone."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    begun = time.perf_counter()
    pipelines = load(modules)
    _tell(
        control,
        loaded=True,
        plans=[pipeline.plan().to_json() for pipeline in pipelines],
        environment=environment(),
        readable=[str(path) for path in _readable(modules)],
    )
    preload(pipelines)
    others = other_threads()
    forks = set(others) <= _HARMLESS_THREADS
    gc.collect()
    gc.freeze()
    seconds = round(time.perf_counter() - begun, 3)
    mode = "fork" if forks else "spawn"
    _tell(control, ready=True, mode=mode, threads=others, seconds=seconds)
    _Nursery(control, forks=forks).serve()


def load(modules: Sequence[str]) -> list[Pipeline[Any]]:
    """Import the modules that define pipelines; returns the pipelines."""
    found: dict[str, Pipeline[Any]] = {}
    for name in modules:
        module = importlib.import_module(name)
        for value in vars(module).values():
            if isinstance(value, Pipeline) and value.body.__module__ == name:
                found[value.name] = value
    return list(found.values())


def preload(pipelines: Sequence[Pipeline[Any]]) -> None:
    """Import what the pipelines want every step to find imported."""
    for pipeline in pipelines:
        for name in pipeline.preload:
            importlib.import_module(name)


def other_threads() -> list[str]:
    """Names of this process's threads besides the main one; where /proc is missing: none known."""
    own = str(os.getpid())
    names = []
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else ():
        if task.name != own:
            with contextlib.suppress(OSError):
                names.append((task / "comm").read_text().strip())
    return sorted(names)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends; without effect where it cannot."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _tell(control: socket.socket, **message: Any) -> None:
    control.send(json.dumps(message).encode())


def _readable(modules: Sequence[str]) -> list[Path]:
    return [*interpreter_paths(), *package_paths([*modules, "headrace"])]


class _Nursery:
    """Starts children and tells of their end."""

    def __init__(self, control: socket.socket, *, forks: bool) -> None:
        self._control = control
        self._forks = forks
        self._children: dict[int, str] = {}
        self._wake, waker = os.pipe()
        for end in (self._wake, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        while True:
            control = self._control.fileno()
            readable, _, _ = select.select([control, self._wake], [], [])
            if self._wake in readable:
                os.read(self._wake, 4096)
                self._reap()
            if control in readable and not self._obey():
                return

    def _obey(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._control, _PACKET, 1)
        if not packet:
            return False
        name = json.loads(packet)["start"]
        channel = descriptors[0]
        pid = self._fork(channel) if self._forks else self._spawn(channel)
        os.close(channel)
        self._children[pid] = name
        _tell(self._control, started=name, pid=pid)
        return True

    def _fork(self, channel: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            self._become_child()
            child.run(socket.socket(fileno=channel))
            status = 0
        except (EOFError, BrokenPipeError):
            status = 2
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _become_child(self) -> None:
        die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self._control.close()

    def _spawn(self, channel: int) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace.pipelines.child", str(channel)],
            pass_fds=[channel],
            start_new_session=True,
        )
        process.returncode = 0  # reaped here, not by subprocess
        return process.pid

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._children.pop(pid, None)
            if name is not None:
                _tell(self._control, exited=name, status=status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].split(","))
