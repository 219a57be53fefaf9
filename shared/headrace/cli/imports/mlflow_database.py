"""MLflow's SQLite database, also while a server uses it: many short reads, no writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from headrace.cli.imports.local_files import LocalFiles
from headrace.cli.imports.mlflow_values import model_status, run_status, stage_of, true_value
from headrace.cli.imports.sources import (
    SLICE,
    Artifact,
    Broken,
    Dataset,
    Experiment,
    Model,
    ModelPoint,
    Run,
    Series,
    Unreadable,
    series_of,
)
from headrace.cli.imports.sqlite_file import Row, SqliteFile

_BATCH: Final = 200
_POINTS: Final = """
select rowid, key, value, timestamp, step, is_nan from metrics
where run_uuid = ? and rowid > ? order by rowid limit ?
"""


class MlflowDatabase:
    """A source; tables and columns that older versions lack count as empty."""

    def __init__(self, path: Path, *, artifacts: Path | None = None) -> None:
        self._path = path
        beside = path.parent / "mlartifacts"
        served = artifacts or (beside if beside.is_dir() else None)
        self._files = LocalFiles(base=path.parent, served=served)
        self._database = SqliteFile(path)
        if not self._database.has("experiments", "runs"):
            raise Unreadable(f"{path} is not a database of MLflow: it has no table of runs")

    @property
    def label(self) -> str:
        """Kind and name of the file."""
        return f"mlflow-database:{self._path.name}"

    @property
    def lacks_artifacts(self) -> bool:
        """Whether runs have files that a server kept, and nobody said where."""
        served = "select 1 from runs where artifact_uri like 'mlflow-artifacts:%' limit 1"
        return self._files.served is None and bool(self._database.rows(served))

    def experiments(self) -> Iterator[Experiment]:
        """All experiments, by number."""
        tags = self._database.texts("experiment_tags", "experiment_id", None)
        for row in self._database.rows("select * from experiments order by experiment_id"):
            yield Experiment(
                source_id=str(row["experiment_id"]),
                name=row["name"],
                lifecycle_stage=stage_of(row["lifecycle_stage"]),
                creation_time=row.get("creation_time"),
                tags=tags[str(row["experiment_id"])],
            )

    def runs(self, experiment: Experiment) -> Iterator[Run | Broken]:
        """All runs of an experiment, by id."""
        after = ""
        while rows := self._database.rows(
            "select * from runs where experiment_id = ? and run_uuid > ? order by run_uuid limit ?",
            int(experiment.source_id),
            after,
            _BATCH,
        ):
            after = rows[-1]["run_uuid"]
            yield from self._with_contents(rows)

    def models(self, experiment: Experiment) -> Iterator[Model | Broken]:
        """Active logged models of an experiment."""
        if not self._database.has("logged_models"):
            return
        rows = self._database.rows(
            "select * from logged_models where experiment_id = ? and lifecycle_stage = 'active'"
            " order by model_id",
            int(experiment.source_id),
        )
        for start in range(0, len(rows), _BATCH):
            yield from self._models_of(rows[start : start + _BATCH])

    def whole(self, run: Run) -> Run:
        """The listing leaves nothing out."""
        return run

    def series(self, run: Run) -> Iterator[Series]:
        """Points in the order in which they were logged, a page at a time."""
        after = -1
        while rows := self._database.tuples(_POINTS, run.run_id, after, SLICE):
            after = rows[-1][0]
            columns: dict[str, tuple[list[float], list[int], list[int]]] = {}
            for _, key, value, timestamp, step, is_nan in rows:
                values, times, steps = columns.setdefault(key, ([], [], []))
                values.append(true_value(value, is_nan=bool(is_nan)))
                times.append(timestamp)
                steps.append(step)
            for key, parts in columns.items():
                yield series_of(key, *parts)

    def artifacts(self, owner: Run | Model) -> Iterator[Artifact]:
        """Files where the database says, if that is on this machine."""
        return self._files.below(owner.artifact_uri)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._database.close()

    def _with_contents(self, rows: Sequence[Row]) -> Iterator[Run]:
        ids = [row["run_uuid"] for row in rows]
        params = self._database.texts("params", "run_uuid", ids)
        tags = self._database.texts("tags", "run_uuid", ids)
        states = self._states(ids)
        datasets = self._datasets(ids)
        links = self._links(ids)
        for row in rows:
            run_id = row["run_uuid"]
            yield Run(
                run_id=run_id,
                name=row.get("name") or tags[run_id].get("mlflow.runName", ""),
                user_id=row["user_id"] or "",
                status=run_status(row["status"]),
                start_time=row["start_time"] or 0,
                end_time=row["end_time"],
                lifecycle_stage=stage_of(row["lifecycle_stage"]),
                params=params[run_id],
                tags=tags[run_id],
                datasets=datasets[run_id],
                model_inputs=[one for one, _ in links["RUN_INPUT", run_id]],
                model_outputs=links["RUN_OUTPUT", run_id],
                artifact_uri=row["artifact_uri"] or "",
                state=states[run_id],
            )

    def _states(self, ids: Sequence[str]) -> dict[str, str]:
        """What tells whether points came since: the latest of each metric."""
        states: dict[str, str] = defaultdict(str)
        for row in self._database.owned("latest_metrics", "run_uuid", ids, order="key"):
            states[row["run_uuid"]] += f"{row['key']} {row['value']} {row['timestamp']}"
            states[row["run_uuid"]] += f" {row['step']} {row['is_nan']}\n"
        return states

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[Dataset]]:
        found: dict[str, list[Dataset]] = defaultdict(list)
        if not self._database.has("inputs", "datasets", "input_tags"):
            return found
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        used = "source_type = 'DATASET' and destination_type = 'RUN'"
        inputs = self._database.owned(
            "inputs", "destination_id", ids, order="input_uuid", where=used
        )
        for row in self._database.owned(
            "input_tags", "input_uuid", [one["input_uuid"] for one in inputs]
        ):
            tags[row["input_uuid"]][row["name"]] = row["value"]
        known = {
            row["dataset_uuid"]: row
            for row in self._database.owned(
                "datasets", "dataset_uuid", [one["source_id"] for one in inputs]
            )
        }
        for row in inputs:
            dataset = known.get(row["source_id"])
            if dataset is not None:
                found[row["destination_id"]].append(_dataset(dataset, tags[row["input_uuid"]]))
        return found

    def _links(self, ids: Sequence[str]) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """Models that runs used or made, and at which step."""
        found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
        linked = "source_type in ('RUN_INPUT', 'RUN_OUTPUT')"
        for row in self._database.owned(
            "inputs", "source_id", ids, order="destination_id", where=linked
        ):
            link = (row["destination_id"], row.get("step") or 0)
            found[row["source_type"], row["source_id"]].append(link)
        return found

    def _models_of(self, rows: Sequence[Row]) -> Iterator[Model]:
        ids = [row["model_id"] for row in rows]
        params, tags = (
            self._database.texts(f"logged_model_{name}s", "model_id", ids, name)
            for name in ("param", "tag")
        )
        points: dict[str, list[ModelPoint]] = defaultdict(list)
        order = "metric_name, metric_timestamp_ms, metric_step"
        for row in self._database.owned("logged_model_metrics", "model_id", ids, order=order):
            points[row["model_id"]].append(_model_point(row))
        for row in rows:
            yield Model(
                model_id=row["model_id"],
                name=row["name"],
                model_type=row["model_type"] or "",
                status=model_status(row["status"]),
                status_message=row["status_message"] or "",
                source_run_id=row["source_run_id"] or "",
                creation_timestamp_ms=row["creation_timestamp_ms"],
                last_updated_timestamp_ms=row["last_updated_timestamp_ms"],
                params=params[row["model_id"]],
                tags=tags[row["model_id"]],
                metrics=points[row["model_id"]],
                artifact_uri=row["artifact_location"],
            )


def _dataset(row: Row, tags: dict[str, str]) -> Dataset:
    return Dataset(
        name=row["name"],
        digest=row["digest"],
        source_type=row["dataset_source_type"],
        source=row["dataset_source"],
        schema=row["dataset_schema"],
        profile=row["dataset_profile"],
        tags=tags,
    )


def _model_point(row: Row) -> ModelPoint:
    return ModelPoint(
        key=row["metric_name"],
        value=true_value(row["metric_value"]),
        timestamp=row["metric_timestamp_ms"],
        step=row["metric_step"],
        run_id=row["run_id"] or "",
        dataset_name=row["dataset_name"] or "",
        dataset_digest=row["dataset_digest"] or "",
    )
