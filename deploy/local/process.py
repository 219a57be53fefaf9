"""One supervised process: started, watched, restarted with back-off, stopped with its children."""

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import identity
from deploy.local.account import Account
from deploy.local.errors import StackError
from deploy.local.identity import ProcessRecord

log = logging.getLogger("headrace.local")

FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
STABLE_SECONDS = 10.0
DEATHS_BEFORE_GIVING_UP = 3
LOG_LIMIT = 20_000_000


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """How to run one process: `prepare` before every start, `ready` asked until it says yes."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    ready: Callable[[], bool]
    prepare: Callable[[], None] = _nothing
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0
    ready_seconds: float = 60.0


class SupervisedProcess:
    """A running process under a name; all methods may be called from any thread."""

    def __init__(self, spec: ProcessSpec, *, directory: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.log_path = directory / "logs" / f"{spec.name}.log"
        self.seconds_to_ready: float | None = None
        self._record_path = directory / "run" / f"{spec.name}.json"
        self._changed = threading.Condition()
        self._popen: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._ready_generation = 0
        self._killed_generation = 0
        self._wanted = False
        self._failure: str | None = None

    @property
    def pid(self) -> int:
        """The pid now; raises when the process does not run."""
        popen = self._popen
        if popen is None or popen.poll() is not None:
            raise StackError(f"{self.name} does not run")
        return popen.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive (not whether it is ready)."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def ready(self) -> bool:
        """Whether the running process has become ready."""
        return self.running and self._ready_generation == self._generation

    @property
    def restarts(self) -> int:
        """How often it was started again since the stack began."""
        return max(0, self._generation - 1)

    def start(self) -> None:
        """Start and wait until ready; raises with the end of the log when it does not get there."""
        began = time.monotonic()
        self.launch()
        self._await(lambda: self.ready, seconds=self.spec.ready_seconds, goal="ready")
        self.seconds_to_ready = time.monotonic() - began

    def launch(self) -> None:
        """Start without waiting."""
        with self._changed:
            if self._wanted:
                return
            self._wanted = True
            self._failure = None
        self._thread = threading.Thread(
            target=self._supervise, name=f"supervise-{self.name}", daemon=True
        )
        self._thread.start()

    def abandon(self) -> None:
        """Make whoever waits for it stop waiting; `stop` must follow."""
        with self._changed:
            self._wanted = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Ask it to end, wait, kill what is left of it and its descendants; no restart."""
        self.abandon()
        popen = self._popen
        if popen is not None and popen.poll() is None:
            family = identity.tree(popen.pid)
            self._signal_main(self.spec.stop_signal)
            for record in family:
                identity.send(record, signal.SIGCONT)
            self._wait_exit(popen, self.spec.stop_seconds)
            self._kill_rest(popen, family)
        if self._thread is not None:
            self._thread.join(timeout=self.spec.ready_seconds)
        self._record_path.unlink(missing_ok=True)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the process itself, as if it crashed; supervision starts it again."""
        self._killed_generation = self._generation
        self._signal_main(number)

    def wait_restarted(self, seconds: float = 60.0) -> None:
        """Wait until the process that follows the one last killed is ready."""
        self._await(
            lambda: self.ready and self._generation > self._killed_generation,
            seconds=seconds,
            goal="restarted",
        )

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until the process runs and is ready."""
        self._await(lambda: self.ready, seconds=seconds, goal="ready")

    def pause(self) -> None:
        """Freeze the process and its descendants (SIGSTOP)."""
        for record in identity.tree(self.pid):
            identity.send(record, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        for record in identity.tree(self.pid):
            identity.send(record, signal.SIGCONT)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - 20_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _supervise(self) -> None:
        delay, deaths = FIRST_DELAY, 0
        while self._wanted:
            began = time.monotonic()
            outcome = self._live_once()
            if not self._wanted:
                return
            deaths = 0 if self.seconds_to_ready is not None else deaths + 1
            if deaths >= DEATHS_BEFORE_GIVING_UP:
                self._give_up(outcome)
                return
            if time.monotonic() - began > STABLE_SECONDS:
                delay = FIRST_DELAY
            log.warning("%s ended (%s); starting it again in %.1f s", self.name, outcome, delay)
            with self._changed:
                self._changed.wait_for(lambda: not self._wanted, timeout=delay)
            delay = min(LONGEST_DELAY, delay * 2)

    def _live_once(self) -> str:
        try:
            self.spec.prepare()
            popen = self._spawn()
        except (OSError, StackError, subprocess.SubprocessError) as error:
            return str(error)
        self._watch_until_ready(popen)
        code = popen.wait()
        self._kill_rest(popen, [])
        with self._changed:
            self._changed.notify_all()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._rotate_log()
        account = self.spec.account
        with self._changed, self.log_path.open("ab") as output:
            if not self._wanted:
                raise StackError("stopped before it started")
            self._popen = subprocess.Popen(
                self.spec.argv,
                env=dict(self.spec.env),
                cwd=self.spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else (),
            )
            self._generation += 1
        record = ProcessRecord.of(self._popen.pid)
        if record is not None:
            record.save(self._record_path)
        return self._popen

    def _rotate_log(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))

    def _watch_until_ready(self, popen: subprocess.Popen[bytes]) -> None:
        pause = 0.01
        while popen.poll() is None and self._wanted:
            if self._asks_ready():
                with self._changed:
                    self._ready_generation = self._generation
                    self._changed.notify_all()
                if self._generation > 1:
                    log.info("%s is ready again (pid %d)", self.name, popen.pid)
                return
            time.sleep(pause)
            pause = min(0.1, pause * 1.5)

    def _asks_ready(self) -> bool:
        try:
            return self.spec.ready()
        except (OSError, subprocess.SubprocessError):
            return False

    def _give_up(self, outcome: str) -> None:
        with self._changed:
            self._failure = f"{self.name} ended before it was ready ({outcome})"
            self._wanted = False
            self._changed.notify_all()

    def _await(self, condition: Callable[[], bool], *, seconds: float, goal: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or not self._wanted, timeout=seconds)
            if condition():
                return
            if not self._wanted and self._failure is None:
                raise StackError(f"{self.name} was stopped")
        reason = self._failure or f"{self.name} is not {goal} after {seconds:.0f} s"
        raise StackError(f"{reason}; the end of {self.log_path}:\n{self.log_tail()}")

    def _signal_main(self, number: signal.Signals) -> None:
        popen = self._popen
        if popen is not None:
            popen.send_signal(number)

    def _wait_exit(self, popen: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            popen.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %.0f s; killing it", self.name, seconds)
            popen.kill()

    def _kill_rest(self, popen: subprocess.Popen[bytes], family: list[ProcessRecord]) -> None:
        popen.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(popen.pid, signal.SIGKILL)
        identity.end(family, seconds=0, first=signal.SIGKILL)
