"""One supervised process, with small programs in the place of servers."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.errors import StackError
from deploy.local.identity import ProcessRecord, send, wait_gone
from deploy.local.process import ProcessSpec, SupervisedProcess

Start = Callable[..., SupervisedProcess]
SLEEPER = "import time\nwhile True: time.sleep(1)"


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Start]:
    """Makes supervised Python programs; what still runs after the test is stopped."""
    for name in ("logs", "run"):
        (tmp_path / name).mkdir()
    made: list[SupervisedProcess] = []

    def make(program: str, *, stop_seconds: float = 5.0) -> SupervisedProcess:
        ready = tmp_path / "ready"
        spec = ProcessSpec(
            name="program",
            argv=(sys.executable, "-c", f"open('ready', 'w').close()\n{program}"),
            env={},
            cwd=tmp_path,
            ready=ready.exists,
            prepare=lambda: ready.unlink(missing_ok=True),
            stop_seconds=stop_seconds,
            ready_seconds=20,
        )
        made.append(SupervisedProcess(spec, directory=tmp_path))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def test_a_killed_process_is_started_again(supervise: Start) -> None:
    process = supervise(SLEEPER)
    process.start()
    first = process.pid

    process.kill()
    process.wait_restarted(20)

    assert process.pid != first
    assert process.restarts == 1


def test_a_stopped_process_stays_stopped_until_it_is_started(supervise: Start) -> None:
    process = supervise(SLEEPER)
    process.start()
    process.stop()

    assert not process.running
    with pytest.raises(StackError, match="does not run"):
        _ = process.pid

    process.start()

    assert process.ready


def test_a_process_that_never_gets_ready_is_given_up_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    for name in ("logs", "run"):
        (tmp_path / name).mkdir()
    failing = ProcessSpec(
        name="failing",
        argv=(sys.executable, "-c", "raise SystemExit('the port is haunted')"),
        env={},
        cwd=tmp_path,
        ready=lambda: False,
    )

    with pytest.raises(StackError, match=r"(?s)ended before it was ready.*the port is haunted"):
        SupervisedProcess(failing, directory=tmp_path).start()


def test_stopping_kills_what_ignores_the_polite_signal(supervise: Start) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPER
    process = supervise(stubborn, stop_seconds=0.2)
    process.start()
    record = ProcessRecord.of(process.pid)
    assert record is not None

    process.stop()

    assert not record.alive()


def test_stopping_leaves_no_descendant_even_in_a_session_of_its_own(supervise: Start) -> None:
    child = f"import os\nos.setsid()\n{SLEEPER}"
    process = supervise(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    )
    process.start()
    children = _wait_children(process.pid)

    process.stop()

    assert wait_gone(children, seconds=5)


def test_a_crash_takes_the_group_with_it_before_the_next_start(supervise: Start) -> None:
    process = supervise(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SLEEPER!r}])"
    )
    process.start()
    children = _wait_children(process.pid)

    process.kill()
    process.wait_restarted(20)

    assert wait_gone(children, seconds=5)


def test_a_paused_process_does_not_run_until_it_is_resumed(supervise: Start) -> None:
    process = supervise(SLEEPER)
    process.start()

    process.pause()
    assert _reaches(process.pid, psutil.STATUS_STOPPED)

    process.resume()
    assert _reaches(process.pid, psutil.STATUS_SLEEPING)


def test_a_paused_process_can_be_stopped(supervise: Start) -> None:
    process = supervise(SLEEPER)
    process.start()
    process.pause()

    process.stop()

    assert not process.running


def test_a_record_does_not_match_a_later_process_with_the_same_pid() -> None:
    mine = ProcessRecord.of(os.getpid())
    assert mine is not None
    other = ProcessRecord(pid=os.getpid(), identity=mine.identity + "1")

    assert mine.alive()
    assert not other.alive()


def test_a_signal_to_a_stale_record_reaches_nobody() -> None:
    send(ProcessRecord(pid=os.getpid(), identity="another boot:1"), signal.SIGKILL)


def _wait_children(pid: int) -> list[ProcessRecord]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = psutil.Process(pid).children(recursive=True)
        records = [record for child in children if (record := ProcessRecord.of(child.pid))]
        if records:
            return records
        time.sleep(0.01)
    raise AssertionError("the program started no child")


def _reaches(pid: int, status: str) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if psutil.Process(pid).status() == status:
            return True
        time.sleep(0.01)
    return False
