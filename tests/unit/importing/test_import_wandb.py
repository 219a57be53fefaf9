"""W&B's offline files: real ones, and the cases that those lack."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.cli.imports.sources import Broken, Run, Series, Unreadable
from headrace.cli.imports.wandb_log import BLOCK, HEADER, records
from headrace.cli.imports.wandb_runs import WandbRuns
from tests.unit.importing.wandb_files import exited, framed, history, run, stats, write

REAL = Path(__file__).parent / "wandb_runs"


def runs_in(*paths: Path) -> tuple[WandbRuns, dict[str, Run], list[Broken]]:
    source = WandbRuns(paths)
    found = [one for home in source.experiments() for one in source.runs(home)]
    broken = [one for one in found if isinstance(one, Broken)]
    return source, {one.run_id: one for one in found if isinstance(one, Run)}, broken


def series_in(source: WandbRuns, one: Run) -> dict[str, Series]:
    return {series.key: series for series in source.series(one)}


def test_a_real_run_is_read_whole() -> None:
    source, runs, broken = runs_in(REAL)
    assert broken == []
    assert [home.name for home in source.experiments()] == ["tiny"]
    found = runs["abc12345"]
    assert (found.name, found.status) == ("first look", "FINISHED")
    assert found.params == {
        "lr": "0.1",
        "model.depth": "3",
        "model.act": "relu",
        "layers": "[1, 2]",
        "late": "true",
    }
    assert found.tags["wandb.tags"] == "small, fixture"
    assert found.tags["wandb.run_group"] == "ablation"
    assert found.tags["wandb.job_type"] == "train"
    assert found.tags["mlflow.note.content"] == "made by hand"
    assert found.tags["wandb.summary.best"] == "0.5"
    assert found.end_time is not None
    assert found.end_time > found.start_time > 1_700_000_000_000


def test_the_history_of_a_real_run_keeps_steps_times_nan_and_infinity() -> None:
    source, runs, _ = runs_in(REAL)
    found = series_in(source, runs["abc12345"])
    assert set(found) == {"loss", "eval.acc", "odd key _1"}
    loss = found["loss"]
    assert loss.steps.tolist() == list(range(32))
    assert loss.values[:2].tolist() == [1.0, 0.5]
    assert math.isnan(loss.values[30])
    assert loss.values[31] == math.inf
    assert runs["abc12345"].start_time <= loss.timestamps[0] <= loss.timestamps[-1]
    assert found["odd key _1"].steps.tolist() == [30]


def test_files_of_a_real_run_come_along() -> None:
    source, runs, _ = runs_in(REAL)
    (file,) = source.artifacts(runs["abc12345"])
    assert (file.path, file.size) == ("notes.txt", 18)
    assert b"".join(file.read()) == b"kept with the run\n"


def test_an_exit_code_is_a_failure_and_a_step_may_be_any() -> None:
    source, runs, _ = runs_in(REAL)
    assert runs["dead0001"].status == "FAILED"
    assert series_in(source, runs["dead0001"])["loss"].steps.tolist() == [7]


def test_a_record_that_spans_blocks_is_read() -> None:
    source, runs, _ = runs_in(REAL)
    assert runs["long0001"].params["text"] == "x" * 33_000
    assert len(series_in(source, runs["long0001"])["loss"]) == 10


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * BLOCK).map(bytes), max_size=6))
def test_what_is_framed_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, given_: list[bytes]
) -> None:
    file = tmp_path_factory.getbasetemp() / "framed.wandb"
    file.write_bytes(framed(given_))
    assert list(records(file)) == given_


@settings(deadline=None)
@given(st.integers(len(HEADER), 11_825))
def test_a_file_that_was_cut_off_gives_what_was_whole(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    whole = REAL / "offline-run-abc12345" / "run-abc12345.wandb"
    file = tmp_path_factory.getbasetemp() / "cut.wandb"
    file.write_bytes(whole.read_bytes()[:length])
    kept = list(records(file))
    assert kept == list(records(whole))[: len(kept)]


def test_a_run_without_its_end_was_killed(tmp_path: Path) -> None:
    write(tmp_path / "run-a.wandb", run("a"), history(0, loss=1.0), history(1, loss=0.5))
    source, runs, _ = runs_in(tmp_path)
    assert (runs["a"].status, runs["a"].end_time) == ("KILLED", 101_000)
    assert len(series_in(source, runs["a"])["loss"]) == 2


def test_a_resumed_run_is_one_run(tmp_path: Path) -> None:
    first = tmp_path / "offline-run-20260101-a" / "run-a.wandb"
    second = tmp_path / "offline-run-20260102-a" / "run-a.wandb"
    write(first, run("a", display_name="n"), history(0, loss=1.0), exited(1))
    write(second, run("a"), history(1, loss=0.5), exited(0))
    source, runs, _ = runs_in(tmp_path)
    assert (runs["a"].name, runs["a"].status) == ("n", "FINISHED")
    assert series_in(source, runs["a"])["loss"].steps.tolist() == [0, 1]


def test_what_the_machine_did_is_a_system_metric(tmp_path: Path) -> None:
    write(tmp_path / "run-a.wandb", run("a"), stats(101, cpu=5.0), stats(102, cpu=6.0))
    source, runs, _ = runs_in(tmp_path)
    cpu = series_in(source, runs["a"])["system/cpu"]
    assert cpu.values.tolist() == [5.0, 6.0]
    assert (cpu.steps.tolist(), cpu.timestamps.tolist()) == ([0, 1], [101_000, 102_000])


def test_objects_are_flat_and_media_and_texts_are_no_metrics(tmp_path: Path) -> None:
    media = {"_type": "image-file", "size": 5}
    row = history(0, eval__acc=0.5, nested={"a": {"b": 1}, "ok": True}, image=media, text="x")
    write(tmp_path / "run-a.wandb", run("a"), row)
    source, runs, _ = runs_in(tmp_path)
    assert set(series_in(source, runs["a"])) == {"eval.acc", "nested.a.b", "nested.ok"}


def test_damage_in_the_middle_breaks_that_run_only(tmp_path: Path) -> None:
    damaged = tmp_path / "bad" / "run-bad.wandb"
    write(damaged, run("bad"), *(history(step, loss=1.0) for step in range(2_000)))
    content = bytearray(damaged.read_bytes())
    content[BLOCK // 2] ^= 1
    damaged.write_bytes(content)
    shutil.copytree(REAL / "offline-run-dead0001", tmp_path / "good")
    _, runs, broken = runs_in(tmp_path)
    assert set(runs) == {"dead0001"}
    assert [one.identity for one in broken] == ["bad"]
    assert "damaged at byte" in broken[0].reason


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.wandb"
    file.write_bytes(b"something else")
    _, runs, broken = runs_in(file)
    assert runs == {}
    assert "not a file of W&B" in broken[0].reason


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        WandbRuns([tmp_path])
