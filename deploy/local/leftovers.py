"""What a stack leaves behind when its supervisor is killed, and how it is found and ended."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.local import identity
from deploy.local.account import unprivileged
from deploy.local.identity import ProcessRecord
from deploy.local.postgres import data_home

STOP_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class State:
    """What the last start of a stack was: enough to ask about it from another process."""

    base: int
    services: tuple[str, ...]


class Leftovers:
    """The records of one stack directory. Only processes that it started are ever signalled."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._run = directory / "run"
        self._supervisor = directory / "supervisor.json"
        self._state = directory / "state.json"
        self._report = directory / "report.txt"
        self.stack_id = self._stack_id()

    def begin(self, *, base: int, services: tuple[str, ...]) -> None:
        """Note that this process is the supervisor now."""
        self._state.write_text(json.dumps({"base": base, "services": services}))
        record = ProcessRecord.of(os.getpid())
        if record is not None:
            record.save(self._supervisor)

    def report(self, text: str) -> None:
        """Say to whoever waits that everything is ready; "" takes it back."""
        self._report.write_text(text)

    def last_report(self) -> str:
        """The text of the last `report`, "" while nothing is ready."""
        return self._report.read_text() if self._report.exists() else ""

    def supervisor(self) -> ProcessRecord | None:
        """The supervisor that runs now, if any."""
        record = ProcessRecord.load(self._supervisor)
        return record if record is not None and record.alive() else None

    def state(self) -> State | None:
        """What was last started here; None when nothing was."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            fields = json.loads(self._state.read_text())
            return State(base=fields["base"], services=tuple(fields["services"]))
        return None

    def recorded(self) -> dict[str, ProcessRecord]:
        """The recorded processes that are alive, by name."""
        found = {path.stem: ProcessRecord.load(path) for path in sorted(self._run.glob("*.json"))}
        return {
            name: record for name, record in found.items() if record is not None and record.alive()
        }

    def end(self) -> int:
        """End everything that is left of an earlier start; returns how many processes that were."""
        named = self.recorded()
        count = len(named)
        # PostgreSQL takes SIGTERM as "wait for the clients"; SIGINT is its orderly stop now.
        postgres = [named.pop("postgres")] if "postgres" in named else []
        families = [member for record in named.values() for member in identity.tree(record.pid)]
        identity.end(families, seconds=STOP_SECONDS)
        identity.end(postgres, seconds=STOP_SECONDS, first=signal.SIGINT)
        strays = identity.marked(self.stack_id) + identity.working_in(
            (self._postgres_home() / "data").resolve()
        )
        identity.end(strays, seconds=STOP_SECONDS)
        for path in self._run.glob("*.json"):
            path.unlink(missing_ok=True)
        self._supervisor.unlink(missing_ok=True)
        self._report.unlink(missing_ok=True)
        return count + len(strays)

    def remove(self) -> None:
        """End what is left and delete the stack's data."""
        self.end()
        outside = self._postgres_home().parent
        if outside != self.directory:
            shutil.rmtree(outside, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _postgres_home(self) -> Path:
        return data_home(self.directory, unprivileged())

    def _stack_id(self) -> str:
        path = self.directory / "id"
        if not path.exists():
            path.write_text(secrets.token_hex(12))
        return path.read_text()


def sweep_temporary(prefix: str) -> None:
    """End and remove temporary stacks of this user whose supervisor was killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*/supervisor.json"):
        with contextlib.suppress(OSError):
            mine = path.stat().st_uid == os.geteuid()
            record = ProcessRecord.load(path)
            if mine and record is not None and not record.alive():
                Leftovers(path.parent).remove()
