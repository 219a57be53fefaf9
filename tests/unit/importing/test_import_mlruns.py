"""An mlruns folder as MLflow's file store lays it out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from headrace.cli.imports.mlflow_files import MlflowFiles
from headrace.cli.imports.sources import Broken, Experiment, Run, Unreadable


def put(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def experiment(root: Path, number: str, name: str) -> Path:
    meta = {"experiment_id": number, "name": name, "lifecycle_stage": "active", "creation_time": 5}
    put(root / number / "meta.yaml", yaml.safe_dump(meta))
    return root / number


def run(home: Path, run_id: str, **members: object) -> Path:
    meta = {
        "run_id": run_id,
        "experiment_id": home.name,
        "status": 3,
        "start_time": 10,
        "end_time": 20,
        "user_id": "ada",
        "lifecycle_stage": "active",
        **members,
    }
    put(home / run_id / "meta.yaml", yaml.safe_dump(meta))
    return home / run_id


def read(root: Path) -> tuple[MlflowFiles, dict[str, Experiment], dict[str, Run | Broken]]:
    source = MlflowFiles(root)
    listed = list(source.experiments())
    homes = {home.name: home for home in listed if isinstance(home, Experiment)}
    found = [one for home in homes.values() for one in source.runs(home)]
    runs = {one.identity if isinstance(one, Broken) else one.run_id: one for one in found}
    return source, homes, runs


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    home = experiment(tmp_path, "1", "e")
    put(home / "tags" / "team", "blue")
    folder = run(home, "r1", run_name="old", status=4)
    put(folder / "params" / "nested" / "lr", "0.1")
    put(folder / "tags" / "mlflow.note.content", "two\nlines")
    put(folder / "metrics" / "train" / "loss", "5 2.5 1\n6 nan 2\n7 -inf 3\n")
    put(folder / "metrics" / "old", "5 1.0\n")
    put(folder / "artifacts" / "deep" / "a.txt", "hello")
    source, homes, runs = read(tmp_path)
    found = runs["r1"]
    assert isinstance(found, Run)
    assert (homes["e"].tags, homes["e"].creation_time) == ({"team": "blue"}, 5)
    assert (found.name, found.user_id, found.status) == ("old", "ada", "FAILED")
    assert (found.start_time, found.end_time) == (10, 20)
    assert found.params == {"nested/lr": "0.1"}
    assert found.tags == {"mlflow.note.content": "two\nlines"}
    series = {one.key: one for one in source.series(found)}
    assert series["train/loss"].values[0] == 2.5
    assert math.isnan(series["train/loss"].values[1])
    assert series["train/loss"].values[2] == -math.inf
    assert series["train/loss"].timestamps.tolist() == [5, 6, 7]
    assert series["old"].steps.tolist() == [0]
    assert [(one.path, one.size) for one in source.artifacts(found)] == [("deep/a.txt", 5)]


def test_what_is_in_the_trash_is_deleted(tmp_path: Path) -> None:
    run(experiment(tmp_path / ".trash", "2", "gone"), "r2")
    run(experiment(tmp_path, "1", "kept"), "r1", lifecycle_stage="deleted")
    _, homes, runs = read(tmp_path)
    assert homes["gone"].lifecycle_stage == "deleted"
    assert [one.lifecycle_stage for one in runs.values() if isinstance(one, Run)] == [
        "deleted",
        "deleted",
    ]


@pytest.mark.parametrize("meta", ["", "- a list", "{broken", "run_id: [}"])
def test_a_damaged_run_is_broken_and_the_others_are_not(tmp_path: Path, meta: str) -> None:
    home = experiment(tmp_path, "1", "e")
    put(home / "bad" / "meta.yaml", meta)
    run(home, "good")
    _, _, runs = read(tmp_path)
    assert isinstance(runs["bad"], Broken)
    assert isinstance(runs["good"], Run)


def test_a_damaged_experiment_is_broken_and_the_others_are_not(tmp_path: Path) -> None:
    run(experiment(tmp_path, "1", "e"), "r")
    put(tmp_path / "2" / "meta.yaml", "{broken")
    source, _, runs = read(tmp_path)
    assert [one.identity for one in source.experiments() if isinstance(one, Broken)] == ["2"]
    assert isinstance(runs["r"], Run)


def test_a_folder_without_its_description_is_broken(tmp_path: Path) -> None:
    (experiment(tmp_path, "1", "e") / "empty").mkdir()
    _, _, runs = read(tmp_path)
    assert isinstance(runs["empty"], Broken)


def test_a_malformed_line_is_named_and_one_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    home = experiment(tmp_path, "1", "e")
    put(run(home, "cut") / "metrics" / "m", "5 1.0 1\n6 2.")
    put(run(home, "torn") / "metrics" / "m", "5 1.0 1\n6")
    put(run(home, "bad") / "metrics" / "m", "5 1.0 1\nfive\n7 1.0 3\n")
    source, _, runs = read(tmp_path)
    found = {key: one for key, one in runs.items() if isinstance(one, Run)}
    (torn,) = source.series(found["torn"])
    assert len(torn) == 1
    with pytest.raises(Unreadable, match="metric m: line 2 is 'five'"):
        list(source.series(found["bad"]))


def test_points_that_come_later_change_the_state(tmp_path: Path) -> None:
    metrics = run(experiment(tmp_path, "1", "e"), "r") / "metrics"
    put(metrics / "m", "5 1.0 1\n")
    before = read(tmp_path)[2]["r"]
    put(metrics / "m", "5 1.0 1\n6 2.0 2\n")
    after = read(tmp_path)[2]["r"]
    assert isinstance(before, Run)
    assert isinstance(after, Run)
    assert before.state != after.state


def test_models_and_datasets_come_with_what_used_and_made_them(tmp_path: Path) -> None:
    home = experiment(tmp_path, "1", "e")
    folder = run(home, "r")
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    put(home / "datasets" / "d1" / "meta.yaml", yaml.safe_dump(dataset))
    used = {"source_type": "DATASET", "source_id": "d1", "tags": {"mlflow.data.context": "train"}}
    put(folder / "inputs" / "d1" / "meta.yaml", yaml.safe_dump(used))
    model_used = {"source_type": "MODEL", "source_id": "m-1", "tags": {}}
    put(folder / "inputs" / "i2" / "meta.yaml", yaml.safe_dump(model_used))
    made = {"source_type": "RUN_OUTPUT", "source_id": "m-2", "step": 3}
    put(folder / "outputs" / "m-2" / "meta.yaml", yaml.safe_dump(made))
    model = {"model_id": "m-2", "name": "net", "status": 2, "source_run_id": "r"}
    put(home / "models" / "m-2" / "meta.yaml", yaml.safe_dump(model))
    put(home / "models" / "m-2" / "metrics" / "auc", "5 0.5 1 r\n6 0.6 2 r name digest\n")
    source, homes, runs = read(tmp_path)
    found = runs["r"]
    assert isinstance(found, Run)
    assert [one.tags for one in found.datasets] == [{"mlflow.data.context": "train"}]
    assert (found.model_inputs, found.model_outputs) == (["m-1"], [("m-2", 3)])
    (net,) = source.models(homes["e"])
    assert not isinstance(net, Broken)
    assert (net.name, net.status) == ("net", "LOGGED_MODEL_READY")
    assert [(one.value, one.dataset_name) for one in net.metrics] == [(0.5, ""), (0.6, "name")]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        MlflowFiles(tmp_path)
