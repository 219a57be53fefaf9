"""Counts that several workers add to, each in its own file, and any of them can tell the sum of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.serving.worker.failure import Code
from services.serving.worker.statistics import Execution, Ledger, NodeStatistics, Statistics
from services.serving.worker.statistics.ledger import read

ROWS = 3
EXECUTION = Execution(
    rows=ROWS, queue_ns=5, input_ns=10, infer_ns=20, output_ns=30, totals_ns=[65, 70]
)


class Worker:
    """What counts in one process."""

    def __init__(self, folder: Path, name: str) -> None:
        ledger = Ledger.claim(folder, name)
        self.path = ledger.path
        self.statistics = Statistics(ledger)
        self.node = NodeStatistics(self.statistics, ledger=ledger, folder=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "counts"


def test_any_worker_tells_the_sum_of_all(folder: Path) -> None:
    one, other = Worker(folder, "1"), Worker(folder, "2")
    one.statistics.executed("m", 4, EXECUTION)
    other.statistics.executed("m", 4, EXECUTION)
    other.statistics.failed("m", 4, code=Code.INTERNAL, total_ns=7)
    assert one.node.of([("m", 4)]) == other.node.of([("m", 4)])
    (told,) = one.node.of([("m", 4)])
    assert (told.inferences, told.executions, told.success.count) == (2 * ROWS, 2, 4)
    assert (told.success.ns, told.queue.ns, told.compute_infer.ns) == (270, 10, 80)
    assert (told.fail.count, told.fail.ns, told.failures) == (1, 7, {Code.INTERNAL: 1})
    assert (told.batches[ROWS].compute_output.count, told.batches[ROWS].compute_output.ns) == (
        2,
        60,
    )
    assert sum(told.latencies) == 4


def test_one_worker_tells_its_own_apart_from_the_sum(folder: Path) -> None:
    one, other = Worker(folder, "1"), Worker(folder, "2")
    one.statistics.executed("m", 4, EXECUTION)
    other.statistics.executed("m", 4, EXECUTION)
    assert [counted.executions for counted in one.statistics.all()] == [1]


def test_version_that_was_never_asked_has_zeros(folder: Path) -> None:
    (told,) = Worker(folder, "1").node.of([("m", 9)])
    assert (told.inferences, told.last_inference_ms, told.batches) == (0, 0, {})


def test_successor_of_a_killed_worker_counts_on(folder: Path) -> None:
    _worker_is_killed(folder)
    successor = Worker(folder, "1")
    successor.statistics.executed("m", 4, EXECUTION)
    assert [counted.executions for counted in successor.statistics.all()] == [2]
    assert [path.name for path in folder.iterdir()] == ["1.0"]


def test_counts_of_a_worker_that_is_gone_stay_in_the_sum(folder: Path) -> None:
    _worker_is_killed(folder)
    (told,) = Worker(folder, "2").node.of([("m", 4)])
    assert told.executions == 1


def test_workers_of_one_name_have_a_ledger_each(folder: Path) -> None:
    one, other = Worker(folder, "1"), Worker(folder, "1")
    assert one.path != other.path
    other.statistics.executed("m", 4, EXECUTION)
    assert one.node.of([("m", 4)])[0].executions == 1


def test_ledger_grows_without_moving_what_is_counted(folder: Path) -> None:
    worker = Worker(folder, "1")
    for version in range(600):
        worker.statistics.executed("m", version, EXECUTION)
    worker.statistics.executed("m", 0, EXECUTION)
    other = Worker(folder, "2")
    told = other.node.of([("m", version) for version in range(600)])
    assert [counted.executions for counted in told] == [2, *[1] * 599]


def test_ledger_of_too_many_versions_is_begun_anew(folder: Path) -> None:
    _worker_is_killed(folder, versions=4000)
    assert Worker(folder, "1").statistics.all() == []


@pytest.mark.parametrize("room", [0, 4096])
def test_full_disk_leaves_the_worker_with_its_own_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    write = os.pwrite

    def full(file: int, content: bytes, offset: int) -> int:
        return write(file, content[:room], offset)

    monkeypatch.setattr(os, "pwrite", full)
    worker, other = Worker(folder, "1"), Worker(folder, "2")
    worker.statistics.executed("m", 4, EXECUTION)
    assert worker.node.of([("m", 4)])[0].executions == 1
    assert other.node.of([("m", 4)])[0].executions == 0


@pytest.mark.parametrize("keep", [0, 7, 40, 65_536 + 9])
def test_damaged_ledger_is_no_reason_to_stop(folder: Path, keep: int) -> None:
    _worker_is_killed(folder)
    path = folder / "1.0"
    path.write_bytes((path.read_bytes() + bytes(range(256)))[:keep])
    other = Worker(folder, "2")
    assert other.node.of([("m", 4)])[0].executions in {0, 1}
    successor = Worker(folder, "1")
    successor.statistics.executed("m", 5, EXECUTION)
    assert other.node.of([("m", 5)])[0].executions == 1


def test_rows_that_are_not_ours_are_left_out(folder: Path) -> None:
    ledger = Ledger.claim(folder, "9")
    for key, size in (("m", 3), ("m\0x", 3), ("m\0004\0001\0001", 4), ("m\0004", 2)):
        ledger.row(key, size)
    assert ledger.path is not None
    assert len(list(read(ledger.path))) == 4
    assert Worker(folder, "1").node.of([("m", 4)])[0].executions == 0


def _worker_is_killed(folder: Path, *, versions: int = 1) -> None:
    """Worker 1, in a process of its own, executed so many versions of `m` once each, from 4."""
    script = f"""
import os
from pathlib import Path
from services.serving.worker.statistics import Execution, Ledger, Statistics
statistics = Statistics(Ledger.claim(Path({str(folder)!r}), "1"))
for version in range(4, {4 + versions}):
    statistics.executed("m", version, {EXECUTION!r})
os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -9
