"""Which process a pid really is, so that only processes of the stack are ever signalled."""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

STACK_ID_VARIABLE = "HEADRACE_STACK_ID"


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """A process at its start; `identity` tells it from a later process with the same pid."""

    pid: int
    identity: str

    @classmethod
    def of(cls, pid: int) -> "ProcessRecord | None":
        """The record of a live process, None when there is none."""
        identity = _identity(pid)
        return None if identity is None else cls(pid=pid, identity=identity)

    def alive(self) -> bool:
        """Whether exactly this process still runs (a zombie does not)."""
        return _identity(self.pid) == self.identity

    def save(self, path: Path) -> None:
        """Write the record whole or not at all."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "ProcessRecord | None":
        """The saved record; None when there is none or it was never finished."""
        try:
            fields = json.loads(path.read_text())
            return cls(pid=int(fields["pid"]), identity=str(fields["identity"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _identity(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{_boot()}:{_start_time(process)}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


def _boot() -> str:
    # The boot id tells ticks since boot of this boot from those of another one.
    with contextlib.suppress(FileNotFoundError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "boot"


def _start_time(process: psutil.Process) -> str:
    # Ticks since boot do not move when the wall clock is set; psutil's create_time does.
    stat = Path(f"/proc/{process.pid}/stat")
    if stat.exists():
        return stat.read_text().rpartition(")")[2].split()[19]
    return f"{process.create_time():.0f}"


def tree(pid: int) -> list[ProcessRecord]:
    """A process and all its descendants now, itself first."""
    try:
        root = psutil.Process(pid)
        pids = [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
    return [record for each in pids if (record := ProcessRecord.of(each)) is not None]


def marked(stack_id: str) -> list[ProcessRecord]:
    """All processes with this stack's id in their environment, wherever their parents went."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(STACK_ID_VARIABLE) == stack_id:
                found.append(ProcessRecord.of(process.pid))
    return [record for record in found if record is not None]


def working_in(directory: Path) -> list[ProcessRecord]:
    """All processes whose working directory is this one.

    These are PostgreSQL's backends, which leave their group and overwrite their environment.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.cwd() == str(directory):
                found.append(ProcessRecord.of(process.pid))
    return [record for record in found if record is not None]


def send(record: ProcessRecord, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens when it is gone."""
    if record.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)


def end(
    records: list[ProcessRecord], *, seconds: float, first: signal.Signals = signal.SIGTERM
) -> None:
    """Ask the processes to end, wait at most `seconds`, kill those left, wait for those too."""
    for record in records:
        send(record, first)
        send(record, signal.SIGCONT)
    if not wait_gone(records, seconds=seconds):
        for record in records:
            send(record, signal.SIGKILL)
        wait_gone(records, seconds=5)


def wait_gone(records: list[ProcessRecord], *, seconds: float) -> bool:
    """Whether all of them ended within the time."""
    deadline = time.monotonic() + seconds
    while any(record.alive() for record in records):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
