"""MLflow's database: an old schema, and what its values stand for."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace.cli.imports.mlflow_database import MlflowDatabase
from headrace.cli.imports.sources import Broken, Run, Unreadable

HUGE = 1.7976931348623157e308
OLD = """
create table experiments (experiment_id integer primary key, name text, artifact_location text,
    lifecycle_stage text);
create table runs (run_uuid text primary key, source_name text, user_id text, status text,
    start_time bigint, end_time bigint, lifecycle_stage text, artifact_uri text,
    experiment_id integer);
create table tags (key text, value text, run_uuid text);
create table params (key text, value text, run_uuid text);
create table metrics (key text, value float, timestamp bigint, step bigint, is_nan boolean,
    run_uuid text);
create index index_metrics_run_uuid on metrics (run_uuid);
insert into experiments values (3, 'old', 'mlruns/3', 'active');
insert into runs values ('r1', 'x', 'ada', 'KILLED', 10, null, 'deleted', 'mlruns/3/r1/artifacts',
    3);
insert into tags values ('mlflow.runName', 'named by a tag', 'r1');
insert into params values ('lr', '0.1', 'r1');
insert into metrics values ('m', 1.5, 5, 1, 0, 'r1'), ('m', 0, 6, 2, 1, 'r1'),
    ('n', 1.7976931348623157e308, 5, 0, 0, 'r1'), ('n', -1.7976931348623157e308, 6, 1, 0, 'r1');
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLD)
        yield file


def runs_in(source: MlflowDatabase) -> list[Run]:
    homes = list(source.experiments())
    found = [one for home in homes for one in source.runs(home)]
    return [one for one in found if not isinstance(one, Broken)]


def test_an_old_schema_without_most_tables_is_read(old: Path) -> None:
    source = MlflowDatabase(old)
    (home,) = source.experiments()
    (found,) = runs_in(source)
    assert (home.source_id, home.name, home.creation_time) == ("3", "old", None)
    assert (found.name, found.user_id, found.status) == ("named by a tag", "ada", "KILLED")
    assert (found.lifecycle_stage, found.end_time) == ("deleted", None)
    assert found.params == {"lr": "0.1"}
    assert list(source.models(home)) == []


def test_nan_and_infinities_are_what_they_were(old: Path) -> None:
    source = MlflowDatabase(old)
    (found,) = runs_in(source)
    series = {one.key: one for one in source.series(found)}
    assert series["m"].values[0] == 1.5
    assert math.isnan(series["m"].values[1])
    assert series["n"].values.tolist() == [math.inf, -math.inf]


def test_files_are_found_beside_the_database(old: Path) -> None:
    folder = old.parent / "mlruns" / "3" / "r1" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    source = MlflowDatabase(old)
    (found,) = runs_in(source)
    (file,) = source.artifacts(found)
    assert (file.path, b"".join(file.read())) == ("a.txt", b"hello")


@pytest.mark.parametrize("uri", ["s3://bucket/3/r1/artifacts", "gs://bucket/r1"])
def test_files_that_lie_elsewhere_are_named(old: Path, uri: str) -> None:
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("update runs set artifact_uri = ?", (uri,))
    source = MlflowDatabase(old)
    (found,) = runs_in(source)
    with pytest.raises(Unreadable, match=uri):
        source.artifacts(found)


def test_files_that_a_server_kept_need_their_folder(old: Path) -> None:
    uri = "mlflow-artifacts:/3/r1/artifacts"
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("update runs set artifact_uri = ?", (uri,))
    assert MlflowDatabase(old).lacks_artifacts
    kept = old.parent / "kept"
    (kept / "3" / "r1" / "artifacts").mkdir(parents=True)
    (kept / "3" / "r1" / "artifacts" / "b.txt").write_text("")
    source = MlflowDatabase(old, artifacts=kept)
    (found,) = runs_in(source)
    assert not source.lacks_artifacts
    assert [one.path for one in source.artifacts(found)] == ["b.txt"]


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("create table runs (x)")
    with pytest.raises(Unreadable, match="not a database of MLflow"):
        MlflowDatabase(tmp_path / "other.db")
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with pytest.raises(Unreadable):
        MlflowDatabase(tmp_path / "text.db")
