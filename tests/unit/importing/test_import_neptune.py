"""What neptune-exporter leaves on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from headrace.cli.imports.neptune_runs import NeptuneRuns
from headrace.cli.imports.sources import Broken, Run, Unreadable
from tests.unit.importing.neptune_export import at, row, write


def read(data: Path, *, multiplier: int = 1) -> tuple[NeptuneRuns, dict[str, Run], list[Broken]]:
    source = NeptuneRuns(data, files=None, step_multiplier=multiplier)
    found = [one for home in source.experiments() for one in source.runs(home)]
    broken = [one for one in found if isinstance(one, Broken)]
    return source, {one.run_id: one for one in found if isinstance(one, Run)}, broken


def test_attributes_become_params_tags_and_times(tmp_path: Path) -> None:
    rows = [
        row("sys/name", "string", "first"),
        row("sys/owner", "string", "ada"),
        row("sys/creation_time", "datetime", at(5_000)),
        row("sys/modification_time", "datetime", at(9_000)),
        row("sys/failed", "bool", value=True),
        row("sys/tags", "string_set", ["a", "b"]),
        row("sys/description", "string", "a note"),
        row("params/lr", "float", 0.1),
        row("params/depth", "int", 3),
        row("params/flag", "bool", value=False),
        row("odd@name", "string", "x"),
    ]
    write(tmp_path / "data" / "p-01", "RUN-1", rows)
    source, runs, _ = read(tmp_path / "data")
    found = runs["RUN-1"]
    assert [home.name for home in source.experiments()] == ["w/p"]
    assert (found.name, found.user_id, found.status) == ("first", "ada", "FAILED")
    assert (found.start_time, found.end_time) == (5_000, 9_000)
    assert found.params == {
        "params/lr": "0.1",
        "params/depth": "3",
        "params/flag": "false",
        "odd_name": "x",
    }
    assert found.tags["neptune.tags"] == "a,b"
    assert found.tags["mlflow.note.content"] == "a note"


def test_series_of_all_parts_keep_decimal_steps_by_the_multiplier(tmp_path: Path) -> None:
    first = [row("m/loss", "float_series", 1.0 / n, step=f"{n / 2}", ms=n) for n in (1, 2, 3)]
    second = [row("m/loss", "float_series", math.inf, step="7.29", ms=4)]
    second += [row("m/acc", "float_series", math.nan, step="-1", ms=1)]
    write(tmp_path / "p", "RUN-1", first, second)
    source, runs, _ = read(tmp_path, multiplier=100)
    points = [
        (one.key, step, time)
        for one in source.series(runs["RUN-1"])
        for step, time in zip(one.steps.tolist(), one.timestamps.tolist(), strict=True)
    ]
    assert sorted(points) == [
        ("m/acc", -100, 1),
        ("m/loss", 50, 1),
        ("m/loss", 100, 2),
        ("m/loss", 150, 3),
        ("m/loss", 729, 4),
    ]


def test_files_and_series_of_other_things_are_files(tmp_path: Path) -> None:
    histogram = {"type": "COUNTING", "edges": [0.0, 1.0], "values": [5.0]}
    texts = [row("log", "string_series", f"line {n}", step=str(n), ms=n) for n in range(3)]
    rows = [
        row("docs/readme", "file", "RUN-1/docs/readme.md"),
        row("images", "file_series", "RUN-1/images/2.png", step="2", ms=1),
        row("h", "histogram_series", histogram, step="0", ms=1),
        *texts[:2],
    ]
    write(tmp_path / "data" / "p-01", "RUN-1", rows, texts[2:])
    for name in ("docs/readme.md", "images/2.png"):
        file = tmp_path / "files" / "p-01" / "RUN-1" / name
        file.parent.mkdir(parents=True)
        file.write_text(name)
    source, runs, _ = read(tmp_path / "data")
    found = {one.path: b"".join(one.read()) for one in source.artifacts(runs["RUN-1"])}
    assert set(found) == {"docs/readme.md", "images/step_2.png", "log.jsonl", "h.jsonl"}
    assert found["docs/readme.md"] == b"docs/readme.md"
    lines = [json.loads(line) for line in found["log.jsonl"].splitlines()]
    assert [(one["step"], one["value"]) for one in lines] == [(n, f"line {n}") for n in range(3)]
    assert json.loads(found["h.jsonl"])["value"] == histogram


@pytest.mark.parametrize("path", ["../../outside", "gone.txt"])
def test_a_file_that_is_not_there_or_leads_out_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "files" / "p").mkdir(parents=True)
    write(tmp_path / "data" / "p", "RUN-1", [row("f", "file", path), row("a", "int", 1)])
    source, runs, _ = read(tmp_path / "data")
    with pytest.raises(Unreadable, match=path.replace(".", r"\.")):
        list(source.artifacts(runs["RUN-1"]))


def test_a_damaged_run_is_broken_and_one_without_part_0_is_not_complete(tmp_path: Path) -> None:
    write(tmp_path / "p", "RUN-1", [row("a", "int", 1)])
    (tmp_path / "p" / "RUN-2-00_part_0.parquet").write_bytes(b"PAR1 torn")
    write(tmp_path / "p", "RUN-3", [row("a", "int", 1)])
    (tmp_path / "p" / "RUN-3-0011_part_0.parquet").rename(
        tmp_path / "p" / "RUN-3-0011_part_0.parquet.tmp"
    )
    _, runs, broken = read(tmp_path)
    assert set(runs) == {"RUN-1"}
    assert [one.identity for one in broken] == ["RUN-2-00"]


def test_ids_that_mlflow_forbids_are_replaced_and_kept_as_a_tag(tmp_path: Path) -> None:
    write(tmp_path / "p", "my.run", [row("a", "int", 1)])
    _, runs, _ = read(tmp_path)
    ((run_id, found),) = runs.items()
    assert run_id.startswith("my-run-")
    assert found.tags["neptune.run_id"] == "my.run"


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        NeptuneRuns(tmp_path, files=None, step_multiplier=1)
