"""Which process listens where: one block of ports, every port at a fixed offset from its base."""

import contextlib
import errno
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import psutil

from deploy.local.errors import StackError
from deploy.local.sides import SIDES

OFFSETS = MappingProxyType(
    {
        "front": 0,
        "tracking": 1,
        "registry": 2,
        "orchestrator": 3,
        "serving": 4,
        "monitoring": 5,
        "console": 6,
        "grpc": 7,
        "worker": 8,
        "serving-worker": 9,
        "kafka": 10,
        "kafka-controller": 11,
        "postgres": 12,
        "s3": 13,
        "s3-master": 14,
        "s3-volume": 15,
        "s3-filer": 16,
        "s3-admin": 17,
        **{side.name: side.offset for side in SIDES},
    }
)
DEFAULT_BASE = 18000
BLOCK = 32
# SeaweedFS listens for gRPC at port + 10000: that too must stay below the ephemeral range.
GRPC_SHIFT = 10000
FREE_RANGE = range(10016, 22736, BLOCK)
HIGHEST_BASE = 65535 - GRPC_SHIFT - BLOCK


class Ports:
    """The ports of one stack; `ports["kafka"]` is a number."""

    def __init__(self, base: int) -> None:
        if not 1024 <= base <= HIGHEST_BASE:
            raise StackError(
                f"HEADRACE_PORT_BASE is {base}: choose a base from 1024 to {HIGHEST_BASE} "
                f"(SeaweedFS adds {GRPC_SHIFT} to its ports)"
            )
        self.base = base

    def __getitem__(self, name: str) -> int:
        return self.base + OFFSETS[name]

    def listening(self) -> Iterator[tuple[str, int]]:
        """Every port that the stack will listen on, with the name of what listens there."""
        for name in OFFSETS:
            yield name, self[name]
            if name.startswith("s3"):
                yield f"{name} (gRPC)", self[name] + GRPC_SHIFT


def configured_base() -> int:
    """The base port a person chose with HEADRACE_PORT_BASE, else 18000."""
    text = os.environ.get("HEADRACE_PORT_BASE", str(DEFAULT_BASE))
    if not text.isdecimal():
        raise StackError(
            f"HEADRACE_PORT_BASE is {text!r}: expected a port number such as {DEFAULT_BASE}"
        )
    return int(text)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def require_free(ports: Ports) -> None:
    """Raise one line that names the first taken port and the process that holds it."""
    for name, port in ports.listening():
        if not is_free(port):
            raise StackError(
                f"port {port} ({name}) is taken by {_owner(port)}; stop it, or move the stack with "
                f"HEADRACE_PORT_BASE={ports.base + 1000}"
            )


def _owner(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process that this user may not see"
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid is not None:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(connection.pid)
                command = " ".join(process.cmdline())[:80] or process.name()
                return f"process {connection.pid} of {process.username()} ({command})"
    return "a process that this user may not see"


@contextlib.contextmanager
def free_block() -> Iterator[Ports]:
    """Reserve a block of free ports while the context is open, against other stacks too."""
    for base in random.sample(FREE_RANGE, len(FREE_RANGE)):
        if abs(base - DEFAULT_BASE) < BLOCK:
            continue
        lock = _lock_block(base)
        if lock is None:
            continue
        try:
            ports = Ports(base)
            if all(is_free(port) for _, port in ports.listening()):
                yield ports
                return
        finally:
            # The lock file of another user stays, unlocked.
            with contextlib.suppress(PermissionError):
                _lock_path(base).unlink(missing_ok=True)
            os.close(lock)
    raise StackError(
        f"no block of {BLOCK} free ports between {FREE_RANGE.start} and {FREE_RANGE.stop}"
    )


def _lock_block(base: int) -> int | None:
    path = _lock_path(base)
    try:
        descriptor = _open_lock(path)
    except PermissionError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A file that its holder has just removed protects nothing.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _lock_path(base: int) -> Path:
    return Path(tempfile.gettempdir()) / f"headrace-ports-{base}.lock"


def _open_lock(path: Path) -> int:
    # Without O_CREAT first: Linux refuses O_CREAT on another user's file in a sticky directory.
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    os.fchmod(descriptor, 0o666)
    return descriptor
