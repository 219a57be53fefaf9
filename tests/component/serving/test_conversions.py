"""New versions are converted to ONNX, and what answers is a conversion that parity holds for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc.aio as triton

from headrace.conversion import convert
from headrace.events import ConversionFinished, FileRef, ModelDeployed
from headrace.runtime.blobs import digest_of
from tests.harness import native_models, onnx_models, sklearn_folders
from tests.harness.bus import until
from tests.harness.serving_processes import Serving
from tests.harness.sklearn_folders import Saved

_PATIENCE = 240.0
"""Converting yields to whatever else the machine does."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A version's files in S3, and those that serving derived from them."""

    saved: Saved
    files: list[FileRef]
    converted: list[FileRef]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One conversion for all: files are known by their digests, whatever model has them."""
    saved = sklearn_folders.logistic(tmp_path_factory.mktemp("made"))
    (saved.folder / "labels.txt").write_text("early\nlate\n")
    files = await serving.upload_folder(saved.folder)
    await serving.create("made", 1, files)
    finished = await _finished(serving, "made")
    assert finished.outcome == "converted", finished.reason
    return Made(saved=saved, files=files, converted=finished.files)


async def _finished(serving: Serving, model: str) -> ConversionFinished:
    def found() -> list[ConversionFinished]:
        events = (event.data for event in serving.events)
        return [
            data for data in events if isinstance(data, ConversionFinished) and data.model == model
        ]

    await until(lambda: bool(found()), seconds=_PATIENCE, what=f"{model} converted")
    return found()[0]


async def _platform(serving: Serving, model: str) -> str:
    async with triton.InferenceServerClient(serving.grpc) as client:
        return str((await client.get_model_metadata(model)).platform)


async def _probabilities(serving: Serving, model: str, saved: Saved) -> np.ndarray:
    tensor = triton.InferInput("input-0", list(saved.rows.shape), "FP32")
    tensor.set_data_from_numpy(saved.rows)
    async with triton.InferenceServerClient(serving.grpc) as client:
        found = await client.infer(model, [tensor])
    return np.asarray(found.as_numpy("predict_proba"))


async def _deployed(serving: Serving, model: str, *, converted: bool) -> ModelDeployed:
    heard = await serving.heard(
        ModelDeployed, lambda data: data.model == model and data.converted is converted
    )
    return heard.data


async def test_promoted_version_answers_with_its_conversion(
    serving: Serving, model: str, made: Made
) -> None:
    await serving.promote(model, 1, made.files, converted=made.converted)
    await _deployed(serving, model, converted=True)
    assert await _platform(serving, model) == "onnxruntime_onnx"
    answers = await _probabilities(serving, model, made.saved)
    np.testing.assert_allclose(answers, made.saved.probabilities, atol=1e-5)


async def test_conversion_calls_its_classes_as_the_model_does(
    serving: Serving, model: str, made: Made
) -> None:
    await serving.promote(model, 1, made.files, converted=made.converted)
    await _deployed(serving, model, converted=True)
    tensor = triton.InferInput("input-0", [1, 5], "FP32")
    tensor.set_data_from_numpy(made.saved.rows[:1])
    best = triton.InferRequestedOutput("predict_proba", class_count=1)
    async with triton.InferenceServerClient(serving.grpc) as client:
        found = (await client.infer(model, [tensor], outputs=[best])).as_numpy("predict_proba")
    expected = ["early", "late"][int(made.saved.probabilities[0].argmax())]
    assert found.ravel()[0].decode().endswith(f":{expected}")


async def test_champion_that_is_converted_later_is_swapped_for_its_conversion(
    serving: Serving, model: str, made: Made
) -> None:
    promotion, _ = await serving.promote(model, 1, made.files)
    await _deployed(serving, model, converted=False)
    assert await _platform(serving, model) == "sklearn"
    await serving.converted(model, 1, made.files, made.converted)
    swapped = await _deployed(serving, model, converted=True)
    assert (swapped.version, swapped.previous_version) == (1, 1)
    assert await _platform(serving, model) == "onnxruntime_onnx"
    assert serving.states[model].promoted_event == promotion


@pytest.mark.slow
async def test_conversion_that_answers_otherwise_leaves_the_version_native(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    """A forest goes another way at missing values once it is converted."""
    files = await serving.upload_folder(native_models.forest(tmp_path).path.parent)
    await serving.create(model, 1, files)
    finished = await _finished(serving, model)
    assert (finished.outcome, finished.files) == ("native", [])
    assert "rows differ" in finished.reason
    await serving.promote(model, 1, files)
    await _deployed(serving, model, converted=False)
    assert await _platform(serving, model) == "sklearn"


async def test_unsigned_pickle_is_not_opened_to_convert_it(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    saved = sklearn_folders.logistic(tmp_path, written="cloudpickle")
    await serving.create(model, 1, await serving.upload_folder(saved.folder))
    finished = await _finished(serving, model)
    assert finished.outcome == "native"
    assert "must be signed by a trusted key" in finished.reason


async def _replaced(serving: Serving, file: FileRef, content: bytes) -> FileRef:
    stored = await serving.blobs.put(f"altered/{digest_of(content)[7:]}", content)
    return FileRef(path=file.path, uri=stored.uri, digest=stored.digest, size=stored.size)


async def test_conversion_whose_report_is_of_another_file_is_not_served(
    serving: Serving, model: str, made: Made
) -> None:
    onnx, report, _ = made.converted
    altered = await _replaced(serving, onnx, onnx_models.constant(1.0))
    await serving.promote(model, 1, made.files, converted=[altered, report])
    deployed = await _deployed(serving, model, converted=False)
    assert deployed.reason == "onnx/parity.json is of another file than onnx/model.onnx"
    assert await _platform(serving, model) == "sklearn"


async def test_conversion_that_does_not_load_leaves_the_version_native(
    serving: Serving, model: str, made: Made
) -> None:
    onnx, report, _ = made.converted
    broken = await _replaced(serving, onnx, b"no model")
    said = (await serving.blobs.get(report.uri)).decode()
    forged = await _replaced(serving, report, said.replace(onnx.digest, broken.digest).encode())
    await serving.promote(model, 1, made.files, converted=[broken, forged])
    deployed = await _deployed(serving, model, converted=False)
    assert deployed.reason.startswith("model.onnx")
    assert await _platform(serving, model) == "sklearn"
    serving.control.kill()
    serving.control.start()
    await serving.control.wait_ready()
    await until(lambda: serving.is_champion(model, 1), seconds=20, what="the champion")
    assert await _platform(serving, model) == "sklearn"


@pytest.mark.slow
async def test_conversion_within_a_version_is_served_only_beside_what_it_was_made_from(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    saved = sklearn_folders.logistic(tmp_path)
    report = await asyncio.to_thread(convert, saved.folder)
    assert report.holds, report.reason
    files = await serving.upload_folder(saved.folder)
    await serving.promote(model, 1, files)
    await _deployed(serving, model, converted=True)
    assert await _platform(serving, model) == "onnxruntime_onnx"
    other = sklearn_folders.logistic(tmp_path / "other", seed=3)
    written = (other.folder / "model.skops").read_bytes()
    (saved.folder / "model.skops").write_bytes(written)
    await serving.promote(model, 2, await serving.upload_folder(saved.folder))
    deployed = await _deployed(serving, model, converted=False)
    assert deployed.reason == "onnx/parity.json is of another model.skops than the version has"
    assert await _platform(serving, model) == "sklearn"


@pytest.mark.slow
async def test_killed_while_it_converts_serving_converts_again_and_tells_once(
    serving: Serving, model: str, tmp_path: Path
) -> None:
    saved = sklearn_folders.logistic(tmp_path)
    files = await serving.upload_folder(saved.folder)
    begun = serving.control.log.read_text().count("conversion_begun")

    async def converting() -> bool:
        return serving.control.log.read_text().count("conversion_begun") > begun

    await serving.create(model, 1, files)
    await until(converting, seconds=30, what="a conversion begins")
    serving.control.kill()
    serving.control.start()
    await serving.control.wait_ready()
    await _finished(serving, model)
    await serving.create(f"{model}-after", 1, files)
    await _finished(serving, f"{model}-after")
    told = [event for event in serving.events if isinstance(event.data, ConversionFinished)]
    assert [event.data.outcome for event in told if event.data.model == model] == ["converted"]
