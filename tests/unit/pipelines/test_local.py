"""A local run: the same steps, encodings, seeds and retries, in this process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.errors import InvalidInput, NotFound, Refused
from headrace.pipelines import Retry, StepContext, pipeline, step
from headrace.pipelines.context import File
from headrace.pipelines.local import LocalRun
from headrace.pipelines.manifest import digest_of

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@step
def draw(context: StepContext, count: int) -> np.ndarray:
    assert context.scratch.is_dir()
    return np.random.default_rng(context.seed).random(count)


@step
def first(numbers: np.ndarray) -> float:
    return float(numbers[0])


@step
def chance() -> float:
    return random.random()


@pipeline()
def drawing(count: int = 3) -> None:
    first(draw(count))
    chance()


def run(directory: Path, *, seed: int = 1, count: int = 3) -> dict[str, object]:
    return LocalRun(directory=directory, seed=seed).run(drawing, count=count)


def test_outputs_go_from_step_to_step(tmp_path: Path) -> None:
    outputs = run(tmp_path)
    numbers = outputs["draw.result"]
    assert isinstance(numbers, np.ndarray)
    assert numbers.shape == (3,)
    assert outputs["first.result"] == numbers[0]


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    assert run(tmp_path)["chance.result"] == run(tmp_path)["chance.result"]
    assert run(tmp_path)["chance.result"] != run(tmp_path, seed=2)["chance.result"]


def test_a_bad_parameter_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="parameter count: expected int, got str"):
        LocalRun(directory=tmp_path).run(drawing, count="3")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


failures: Iterator[BaseException] = iter(())


@step(retry=Retry(attempts=3, backoff=0.001))
def fragile(context: StepContext) -> int:
    error = next(failures, None)
    if error is not None:
        raise error
    return context.attempt


@pipeline()
def retrying() -> None:
    fragile()


def test_a_failing_step_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "failures", iter([OSError("one"), OSError("two")]))
    assert LocalRun(directory=tmp_path).run(retrying) == {"fragile.result": 3}


def test_a_permanent_error_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "failures", iter([Refused("no")]))
    with pytest.raises(Refused, match="no"):
        LocalRun(directory=tmp_path).run(retrying)


def test_retries_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "failures", iter([OSError(str(n)) for n in range(3)]))
    with pytest.raises(OSError, match="2"):
        LocalRun(directory=tmp_path).run(retrying)


@step
def wrong_type() -> int:
    return "three"  # type: ignore[return-value]


@pipeline()
def lying() -> None:
    wrong_type()


def test_a_result_that_is_not_of_its_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="result is not a"):
        LocalRun(directory=tmp_path).run(lying)


@step
def fetching(context: StepContext, uri: str, digest: str) -> int:
    (path,) = context.fetch(File(uri=uri, digest=digest))
    return len(path.read_bytes())


@pipeline()
def fetcher(uri: str, digest: str) -> None:
    fetching(uri, digest)


def test_a_fetched_file_is_verified(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"")
    local = LocalRun(directory=tmp_path / "runs")
    outputs = local.run(fetcher, uri=source.as_uri(), digest=EMPTY)
    assert outputs == {"fetching.result": 0}
    source.write_bytes(b"changed")
    with pytest.raises(Refused, match="expected digest sha256:e3b0"):
        LocalRun(directory=tmp_path / "others").run(fetcher, uri=source.as_uri(), digest=EMPTY)
    with pytest.raises(NotFound, match="file:// only"):
        LocalRun(directory=tmp_path / "others").run(fetcher, uri="s3://b/k", digest=EMPTY)


@step
def manifest(context: StepContext) -> str:
    return digest_of(context.manifest())


@pipeline()
def manifesting() -> None:
    manifest()


def test_the_manifest_is_the_same_for_the_same_run(tmp_path: Path) -> None:
    def digest(seed: int) -> object:
        local = LocalRun(directory=tmp_path / str(seed), seed=seed, run_id="run")
        return local.run(manifesting)["manifest.result"]

    first_digest = digest(1)
    (tmp_path / "1").rename(tmp_path / "old")
    assert digest(1) == first_digest
    assert digest(2) != first_digest
