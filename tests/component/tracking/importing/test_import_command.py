"""`headrace import` against a running tracking service: what arrives, what is reported."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from uuid import uuid4

import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import ViewType

from tests.component.tracking.importing import command
from tests.component.tracking.process import TrackingProcess
from tests.unit.importing import neptune_export
from tests.unit.importing.neptune_export import at, row

WANDB = Path(__file__).parents[3] / "unit" / "importing" / "wandb_runs"


def mlruns(root: Path, name: str, *run_ids: str) -> Path:
    """A folder with one experiment and these runs, each with a metric, a param and a file."""
    home = root / "mlruns" / "7"
    home.mkdir(parents=True)
    meta = {"experiment_id": "7", "name": name, "lifecycle_stage": "active"}
    (home / "meta.yaml").write_text(yaml.safe_dump(meta))
    for run_id in run_ids:
        for folder in ("metrics", "params", "artifacts"):
            (home / run_id / folder).mkdir(parents=True)
        info = {"run_id": run_id, "run_name": "old", "status": 3, "start_time": 1, "end_time": 2}
        (home / run_id / "meta.yaml").write_text(yaml.safe_dump(info))
        (home / run_id / "metrics" / "loss").write_text("5 2.5 1\n6 inf 2\n7 nan 3\n")
        (home / run_id / "params" / "lr").write_text("0.1")
        (home / run_id / "artifacts" / "a.txt").write_text(run_id)
    return root / "mlruns"


def test_a_folder_arrives_and_says_where_it_came_from(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    name, run_id = f"folder {uuid4()}", uuid4().hex
    report = command.run("mlflow", mlruns(tmp_path, name, run_id), url=tracking.url)
    assert (report["runs"], report["points"], report["files"]) == (1, 3, 1)
    found = client.get_run(run_id)
    assert found.data.params == {"lr": "0.1"}
    assert found.data.tags["headrace.import.source"] == "mlruns:mlruns"
    assert found.data.tags["headrace.import.experiment_id"] == "7"
    values = [one.value for one in client.get_metric_history(run_id, "loss")]
    assert values[:2] == [2.5, math.inf]
    assert math.isnan(values[2])
    file = download_artifacts(run_id=run_id, artifact_path="a.txt", dst_path=str(tmp_path))
    assert Path(file).read_text() == run_id


def test_importing_again_sends_only_what_changed(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    one, two = uuid4().hex, uuid4().hex
    root = mlruns(tmp_path, f"again {uuid4()}", one, two)
    command.run("mlflow", root, url=tracking.url)
    with (root / "7" / two / "metrics" / "loss").open("a") as metric:
        metric.write("8 0.5 4\n")
    report = command.run("mlflow", root, url=tracking.url)
    assert (report["runs"], report["unchanged"]) == (1, 1)
    assert (report["files"], report["files_present"]) == (0, 1)
    assert len(client.get_metric_history(one, "loss")) == 3
    assert [point.step for point in client.get_metric_history(two, "loss")] == [1, 2, 3, 4]


def test_a_broken_run_is_reported_and_the_others_arrive(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    name, good, bad, torn = f"broken {uuid4()}", uuid4().hex, uuid4().hex, uuid4().hex
    root = mlruns(tmp_path, name, good, bad, torn)
    (root / "7" / bad / "meta.yaml").write_text("{broken")
    (root / "7" / torn / "metrics" / "loss").write_text("not a number\n1 1 1\n")
    report = command.run("mlflow", root, url=tracking.url, code=1)
    assert {one["id"] for one in report["failures"]} == {bad, torn}
    assert {one["experiment"] for one in report["failures"]} == {name}
    assert client.get_run(good).info.status == "FINISHED"

    (root / "7" / torn / "metrics" / "loss").write_text("1 1 1\n")
    shutil.rmtree(root / "7" / bad)
    mended = command.run("mlflow", root, url=tracking.url)
    assert (mended["runs"], mended["unchanged"]) == (1, 1)
    assert client.get_run(torn).info.status == "FINISHED"


def test_a_dry_run_counts_and_changes_nothing(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    name = f"dry {uuid4()}"
    root = mlruns(tmp_path, name, uuid4().hex, uuid4().hex)
    report = command.run("mlflow", root, "--dry-run", url=tracking.url)
    assert (report["runs"], report["points"], report["files"]) == (2, 6, 2)
    assert client.get_experiment_by_name(name) is None


def test_files_may_be_left_out_and_brought_later(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    run_id = uuid4().hex
    root = mlruns(tmp_path, f"files {uuid4()}", run_id)
    assert command.run("mlflow", root, "--no-files", url=tracking.url)["files"] == 0
    assert client.list_artifacts(run_id) == []
    assert command.run("mlflow", root, url=tracking.url)["files"] == 1
    assert [file.path for file in client.list_artifacts(run_id)] == ["a.txt"]


def test_only_the_experiments_that_were_named_are_imported(
    tracking: TrackingProcess, tmp_path: Path
) -> None:
    root = mlruns(tmp_path, f"not this {uuid4()}", uuid4().hex)
    report = command.run("mlflow", root, "--experiment", "another", url=tracking.url)
    assert report["experiments"] == 0


def test_runs_of_wandb_arrive(client: MlflowClient, tracking: TrackingProcess) -> None:
    report = command.run("wandb", WANDB, url=tracking.url)
    assert report["failures"] == []
    home = client.get_experiment_by_name("tiny")
    assert home is not None
    runs = client.search_runs([home.experiment_id], "params.`model.depth` = '3'")
    assert [run.info.run_id for run in runs] == ["abc12345"]
    assert len(client.get_metric_history("abc12345", "loss")) == 32
    assert [file.path for file in client.list_artifacts("abc12345")] == ["notes.txt"]
    assert command.run("wandb", WANDB, url=tracking.url)["unchanged"] == 3
    assert client.get_run("dead0001").info.status == "FAILED"


def test_runs_of_neptune_arrive(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    run_id = f"NPT-{uuid4().hex[:8]}"
    rows = [
        row("sys/name", "string", "tuned"),
        row("sys/creation_time", "datetime", at(5_000)),
        row("sys/trashed", "bool", value=True),
        row("params/lr", "float", 0.1),
        *[row("loss", "float_series", 1 / n, step=str(n), ms=5_000 + n) for n in range(1, 50)],
        row("docs", "file", "docs.md"),
    ]
    neptune_export.write(tmp_path / "data" / "p", run_id, rows, project=f"team/{run_id}")
    (tmp_path / "files" / "p").mkdir(parents=True)
    (tmp_path / "files" / "p" / "docs.md").write_text("words")
    report = command.run("neptune", tmp_path / "data", url=tracking.url)
    assert (report["runs"], report["points"], report["files"]) == (1, 49, 1)
    home = client.get_experiment_by_name(f"team/{run_id}")
    assert home is not None
    (found,) = client.search_runs([home.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert (found.info.run_name, found.data.params) == ("tuned", {"params/lr": "0.1"})
    assert [file.path for file in client.list_artifacts(run_id)] == ["docs.md"]


def test_wrong_usage_and_silence_have_exit_codes_of_their_own(
    tracking: TrackingProcess, tmp_path: Path
) -> None:
    assert "no such file" in command.run("mlflow", "gone.db", url=tracking.url, code=2)["error"]
    other = command.run("mlflow", tmp_path, url=tracking.url, code=1)["error"]
    assert "not a folder of MLflow" in other
    root = mlruns(tmp_path, "nowhere", uuid4().hex)
    silent = command.run("mlflow", root, url="http://127.0.0.1:9", code=3)["error"]
    assert "cannot be reached" in silent


def test_two_imports_at_once_lead_to_one_run_each(
    client: MlflowClient, tracking: TrackingProcess, tmp_path: Path
) -> None:
    run_ids = [uuid4().hex for _ in range(6)]
    root = mlruns(tmp_path, f"twice {uuid4()}", *run_ids)
    both = [command.begin("mlflow", root, url=tracking.url) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, (out, err)
    for run_id in run_ids:
        assert client.get_run(run_id).info.status == "FINISHED"
        assert len(client.get_metric_history(run_id, "loss")) == 3
