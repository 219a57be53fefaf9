"""What each command of `python -m deploy.local` does. Every function returns an exit code."""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections import deque
from pathlib import Path
from types import FrameType

from deploy.local import identity
from deploy.local.errors import StackError
from deploy.local.java import find_java
from deploy.local.kafka import fetch_jars
from deploy.local.leftovers import Leftovers
from deploy.local.options import CHECKOUT, ON_REQUEST, SERVICES, StackOptions, asked_for
from deploy.local.ports import Ports, configured_base
from deploy.local.stack import Stack

log = logging.getLogger("headrace.local")

DETACHED_SECONDS = 300.0
STOP_SECONDS = 90.0
NOT_READY = 3
NOTHING = "nothing is up"


def up(arguments: Namespace) -> int:
    """Start everything; stay until a signal, or come back when a detached stack is ready."""
    if arguments.detach:
        return _up_detached(arguments.directory, arguments.only)
    options = StackOptions(
        directory=arguments.directory, services=_chosen(arguments.only), settings=os.environ
    )
    stack = Stack.fixed(options)
    ended = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if ended.is_set():
            return
        ended.set()
        if not stack.started:
            raise StackError(f"stopped by {signal.Signals(number).name} while starting")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    with stack:
        report = describe(stack)
        stack.leftovers.report(report)
        print(report, flush=True)
        ended.wait()
        log.info("stopping")
    log.info("everything is stopped")
    return 0


def describe(stack: Stack) -> str:
    """Where to go, and how long each part took to start."""
    lines = ["", *(f"  {name:<26}{seconds:6.1f} s" for name, seconds in stack.timings.items()), ""]
    if "front" in stack.processes:
        lines += [f"  console, MLflow and REST  {stack.urls['front']}"]
    if "serving-worker" in stack.processes:
        lines += [f"  predictions (gRPC)        {stack.urls['grpc']}"]
    lines += [
        f"  Kafka                     {stack.urls['kafka']}",
        f"  logs                      {stack.directory / 'logs'}",
    ]
    return "\n".join(lines)


def down(arguments: Namespace) -> int:
    """Stop the stack, whether or not its supervisor still lives."""
    if not arguments.directory.exists():
        print(NOTHING)
        return 0
    leftovers = Leftovers(arguments.directory)
    supervisor = leftovers.supervisor()
    if supervisor is not None:
        identity.send(supervisor, signal.SIGTERM)
        if not identity.wait_gone([supervisor], seconds=STOP_SECONDS):
            log.warning("the supervisor did not end within %.0f s; killing it", STOP_SECONDS)
            identity.send(supervisor, signal.SIGKILL)
            identity.wait_gone([supervisor], seconds=5)
    count = leftovers.end()
    if supervisor is None and count == 0:
        print(NOTHING)
    else:
        print(f"everything is stopped{f' ({count} left behind were ended)' if count else ''}")
    return 0


def status(arguments: Namespace) -> int:
    """Print each process; exit code 3 unless all are ready."""
    if not arguments.directory.exists():
        print(json.dumps({"supervised": False, "processes": []}) if arguments.json else NOTHING)
        return NOT_READY
    stack = _known_stack(arguments.directory)
    rows = stack.survey()
    if arguments.json:
        supervisor = stack.leftovers.supervisor()
        print(json.dumps({"supervised": supervisor is not None, "processes": rows}))
    else:
        for row in rows:
            state = "ready" if row["ready"] else "starting" if row["pid"] else "down"
            print(f"  {row['name']:<20} {state:<9} pid {row['pid'] or '-'!s:<8} {row['address']}")
        if stack.leftovers.supervisor() is None:
            print("  no supervisor: nothing is started again when it dies")
    return 0 if all(row["ready"] for row in rows) else NOT_READY


def logs(arguments: Namespace) -> int:
    """Print the end of a log and, if asked, what comes after."""
    path = arguments.directory / "logs" / f"{arguments.name}.log"
    if not path.exists():
        known = sorted(each.stem for each in path.parent.glob("*.log"))
        raise StackError(f"no log of {arguments.name!r}; there are {', '.join(known) or 'none'}")
    with path.open(errors="replace") as file:
        sys.stdout.writelines(deque(file, maxlen=arguments.lines))
        while arguments.follow:
            sys.stdout.write(file.read())
            sys.stdout.flush()
            time.sleep(0.2)
    return 0


def env(arguments: Namespace) -> int:
    """Print the variables of a service so that a shell can take them over."""
    for name, value in sorted(_known_stack(arguments.directory).env(arguments.name).items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def fetch(_: Namespace) -> int:
    """Download Kafka's jars unless they are there."""
    print(fetch_jars())
    return 0


def java(_: Namespace) -> int:
    """Print the path of the Java that would be used."""
    print(find_java())
    return 0


def _chosen(only: str | None) -> tuple[str, ...]:
    if only is None:
        return asked_for()
    names = tuple(name for name in only.split(",") if name not in {"", "-"})
    known = (*SERVICES, *ON_REQUEST)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise StackError(f"no service {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _known_stack(directory: Path) -> Stack:
    """The stack as it was last started, so that it can be asked about from another process."""
    state = Leftovers(directory).state() if directory.exists() else None
    base = configured_base() if state is None else state.base
    services = SERVICES if state is None else state.services
    return Stack(StackOptions(directory=directory, services=services), Ports(base))


def _up_detached(directory: Path, only: str | None) -> int:
    log_path = directory / "logs" / "supervisor.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    leftovers = Leftovers(directory)
    if leftovers.supervisor() is not None:
        raise StackError(f"the stack in {directory} is already up; `make down` stops it")
    leftovers.report("")
    command = [sys.executable, "-m", "deploy.local", f"--directory={directory.resolve()}", "up"]
    with log_path.open("ab") as output:
        supervisor = subprocess.Popen(
            command + ([f"--only={only}"] if only is not None else []),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        offset = output.tell()
    return _wait_detached(supervisor, leftovers, log_path, offset)


def _wait_detached(
    supervisor: subprocess.Popen[bytes], leftovers: Leftovers, log_path: Path, offset: int
) -> int:
    deadline = time.monotonic() + DETACHED_SECONDS
    while time.monotonic() < deadline:
        report = leftovers.last_report()
        if report:
            print(report)
            return 0
        if supervisor.poll() is not None:
            with log_path.open("rb") as file:
                file.seek(offset)
                sys.stderr.write(file.read().decode(errors="replace"))
            return 1
        time.sleep(0.05)
    raise StackError(f"not ready after {DETACHED_SECONDS:.0f} s; see {log_path}")
