"""What has to be unpickled is served only when a trusted key signed it, and kept in."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from deploy.local import Backends
from deploy.local.testing import TestDatabase, create_database, drop_database
from headrace.confinement.landlock import landlock_version
from headrace.events import ConversionFinished, DeploymentFailed, ModelDeployed
from headrace.signing import SIGNATURE_FILE, sign_folder
from tests.harness import onnx_models, pickled_models, sklearn_folders
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, serving_processes
from tests.harness.signing_keys import Keys, make_keys

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


@dataclass(frozen=True, kw_only=True)
class Own:
    """Processes that trust one key."""

    serving: Serving
    keys: Keys


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Own]:
    directory = tmp_path_factory.mktemp("signed")
    keys = make_keys(directory, "release")
    database: TestDatabase = await create_database(backends)
    settings = {
        "TRUSTED_KEYS": str(keys.folder),
        "SANDBOX_RUN_SECONDS": "3",
        "SANDBOX_LOAD_SECONDS": "40",
        "PROOF_SECONDS": "45",
    }
    async with serving_processes(backends, database, directory, **settings) as running:
        yield Own(serving=running, keys=keys)
    await drop_database(database)


def folder_with(path: Path, content: bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "model.pkl").write_bytes(content)
    (path / "requirements.txt").write_text("numpy\n")
    return path


async def refusal(own: Own, model: str, version: int, folder: Path) -> str:
    await own.serving.promote(model, version, await own.serving.upload_folder(folder))
    failed = await own.serving.heard(
        DeploymentFailed, lambda data: (data.model, data.version) == (model, version)
    )
    return failed.data.reason


async def deploy(own: Own, model: str, version: int, folder: Path) -> None:
    await own.serving.promote(model, version, await own.serving.upload_folder(folder))
    await own.serving.heard(
        ModelDeployed, lambda data: (data.model, data.version) == (model, version)
    )


async def asked(own: Own, model: str, first: float = 0.0) -> list[float]:
    tensor = triton.InferInput("input-0", [1, 2], "FP64")
    tensor.set_data_from_numpy(np.array([[first, 2.0]]))
    async with triton.InferenceServerClient(own.serving.grpc) as client:
        result = await client.infer(model, [tensor], client_timeout=30)
    return [float(value) for value in result.as_numpy("predict")]


def sandboxes(own: Own) -> list[psutil.Process]:
    worker = psutil.Process(own.serving.worker.pid)
    return [each for each in worker.children() if "sandbox.child" in " ".join(each.cmdline())]


async def test_an_unsigned_pickle_is_never_unpickled(own: Own, model: str, tmp_path: Path) -> None:
    """The same pickle, signed, is: it says so itself when it is."""
    tells = pickled_models.running("raise RuntimeError('unpickled')")
    folder = folder_with(tmp_path / "model", tells)
    unsigned = await refusal(own, model, 1, folder)
    assert "model.pkl (pickle) must be signed by a trusted key" in unsigned
    assert "unpickled" not in unsigned
    sign_folder(folder, own.keys.private)
    assert "RuntimeError: unpickled" in await refusal(own, model, 2, folder)


@pytest.mark.slow
async def test_a_signed_pickle_is_converted_to_onnx(own: Own, model: str, tmp_path: Path) -> None:
    saved = sklearn_folders.logistic(tmp_path, written="cloudpickle")
    sign_folder(saved.folder, own.keys.private)
    await own.serving.create(model, 1, await own.serving.upload_folder(saved.folder))
    finished = await own.serving.heard(ConversionFinished, lambda data: data.model == model)
    assert finished.data.outcome == "converted", finished.data.reason


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("stranger", "unknown key"),
        ("changed", "files differ from what was signed: model.pkl"),
        ("extra", "files are not signed: more.py"),
        ("missing", "signed files are missing: requirements.txt"),
        ("garbage", "no Sigstore bundle"),
    ],
)
async def test_a_signature_that_does_not_hold_is_refused_and_the_champion_stays(
    own: Own, model: str, tmp_path: Path, wrong: str, reason: str
) -> None:
    await own.serving.deploy(model, 1, onnx_models.constant(1.0))
    folder = folder_with(tmp_path / "model", pickled_models.predicting("pass"))
    key = make_keys(tmp_path, "other").private if wrong == "stranger" else own.keys.private
    sign_folder(folder, key)
    if wrong == "changed":
        (folder / "model.pkl").write_bytes(pickled_models.predicting("evil()"))
    elif wrong == "extra":
        (folder / "more.py").write_text("")
    elif wrong == "missing":
        (folder / "requirements.txt").unlink()
    elif wrong == "garbage":
        (folder / SIGNATURE_FILE).write_text("{}")
    assert reason in await refusal(own, model, 2, folder)
    assert await own.serving.score(model) == 1.0


@pytest.mark.parametrize(
    ("loading", "reason"),
    [
        ("os.abort()", "it died of SIGABRT"),
        ("ctypes.string_at(0)", "it died of SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "it died of SIGKILL"),
        ("hoard = bytearray(10 * 1024**3)", "does not load within 4096 MiB"),
        pytest.param("while True: pass", "model.pkl did not load within", marks=pytest.mark.slow),
    ],
    ids=["abort", "segfault", "killed", "memory", "hang"],
)
async def test_a_signed_pickle_that_does_not_survive_loading_never_replaces_the_champion(
    own: Own, model: str, tmp_path: Path, loading: str, reason: str
) -> None:
    await own.serving.deploy(model, 1, onnx_models.constant(1.0))
    folder = folder_with(tmp_path / "model", pickled_models.predicting("pass", loading=loading))
    sign_folder(folder, own.keys.private)
    assert reason in await refusal(own, model, 2, folder)
    assert await own.serving.score(model) == 1.0


@pytest.mark.slow
async def test_a_graph_that_never_ends_never_replaces_the_champion(own: Own, model: str) -> None:
    await own.serving.deploy(model, 1, onnx_models.constant(1.0))
    await own.serving.promote(model, 2, await own.serving.upload(onnx_models.endless()))
    failed = await own.serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert failed.data.reason == "model.onnx did not load within 45 s"
    assert failed.data.kept_version == 1
    assert await own.serving.score(model) == 1.0


async def test_a_signed_pickle_answers_and_its_death_touches_nobody_else(
    own: Own, model: str, tmp_path: Path
) -> None:
    other = f"{model}-other"
    await own.serving.deploy(other, 1, onnx_models.constant(7.0))
    hanging = pickled_models.predicting("while rows[0, 0] == 9: pass")
    folder = folder_with(tmp_path / "model", hanging)
    sign_folder(folder, own.keys.private)
    await deploy(own, model, 1, folder)
    assert await asked(own, model) == [2.0]

    with pytest.raises(InferenceServerException, match="did not answer within 3 s") as caught:
        await asked(own, model, 9.0)
    assert "UNAVAILABLE" in str(caught.value.status())
    assert await own.serving.score(other) == 7.0
    await until(lambda: _answers(own, model), seconds=30, what="an answer of the next process")

    for sandbox in sandboxes(own):
        os.kill(sandbox.pid, signal.SIGKILL)
    assert await own.serving.score(other) == 7.0
    await until(lambda: _answers(own, model), seconds=30, what="an answer of the next process")


@pytest.mark.slow
async def test_a_model_that_mlflow_wrote_answers_as_it_did_in_training(
    own: Own, model: str, tmp_path: Path
) -> None:
    import mlflow  # noqa: PLC0415 - slow to import
    import pandas as pd  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(50, 2)), columns=["delay", "distance"])
    trained = LogisticRegression().fit(rows, rows["delay"] > rows["distance"])
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(
        trained,
        folder,
        signature=mlflow.models.infer_signature(rows, trained.predict(rows)),
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    sign_folder(folder, own.keys.private)
    await deploy(own, model, 1, folder)

    tensors = []
    for name in rows.columns:
        tensor = triton.InferInput(name, [len(rows), 1], "FP64")
        tensor.set_data_from_numpy(rows[[name]].to_numpy())
        tensors.append(tensor)
    async with triton.InferenceServerClient(own.serving.grpc) as client:
        result = await client.infer(model, tensors)
    assert np.array_equal(result.as_numpy("predict_proba"), trained.predict_proba(rows))


_PYTHON_MODEL = """
import json
import mlflow
import pandas as pd


class Fares(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["rates"]) as file:
            self.rates = json.load(file)

    def predict(self, context, model_input, params=None):
        fare = model_input["distance"] * self.rates["kilometre"] + model_input["delay"]
        return pd.DataFrame({"fare": fare, "dear": fare > 100})


mlflow.models.set_model(Fares())
"""


@pytest.mark.slow
@pytest.mark.parametrize("by_value", [False, True], ids=["from code", "pickled"])
async def test_a_python_model_with_its_artifacts_answers_as_pyfunc_does(
    own: Own, model: str, tmp_path: Path, by_value: bool
) -> None:
    folder = _python_model(tmp_path, by_value=by_value)
    sign_folder(folder, own.keys.private)
    await deploy(own, model, 1, folder)
    tensors = []
    for name, values in (("distance", [10.0, 400.0]), ("delay", [1.0, 2.0])):
        tensor = triton.InferInput(name, [2, 1], "FP64")
        tensor.set_data_from_numpy(np.array(values).reshape(2, 1))
        tensors.append(tensor)
    async with triton.InferenceServerClient(own.serving.grpc) as client:
        result = await client.infer(model, tensors, client_timeout=30)
        metadata = await client.get_model_metadata(model)
    assert result.as_numpy("fare").tolist() == [6.0, 202.0]
    assert result.as_numpy("dear").tolist() == [False, True]
    assert metadata.platform == "mlflow_pyfunc"


def _python_model(tmp_path: Path, *, by_value: bool) -> Path:
    """Saved by MLflow, as the code of its class or as a pickle of an instance."""
    import mlflow  # noqa: PLC0415 - slow to import
    import pandas as pd  # noqa: PLC0415

    code = tmp_path / "fares.py"
    code.write_text(_PYTHON_MODEL)
    rates = tmp_path / "rates.json"
    rates.write_text('{"kilometre": 0.5}')
    asked = pd.DataFrame({"distance": [1.0], "delay": [2.0]})
    given = pd.DataFrame({"fare": [1.0], "dear": [False]})
    space: dict[str, Any] = {"__name__": "__main__"}
    if by_value:
        exec(_PYTHON_MODEL.partition("mlflow.models")[0], space)  # noqa: S102 - our own text
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=space["Fares"]() if by_value else str(code),
        artifacts={"rates": str(rates)},
        signature=mlflow.models.infer_signature(asked, given),
        pip_requirements=["mlflow"],
    )
    return tmp_path / "model"


async def test_a_killed_worker_comes_back_with_its_signed_model(
    own: Own, model: str, tmp_path: Path
) -> None:
    folder = folder_with(tmp_path / "model", pickled_models.predicting("pass"))
    sign_folder(folder, own.keys.private)
    await deploy(own, model, 1, folder)
    orphans = sandboxes(own)
    assert orphans
    own.serving.worker.kill()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert alive == []
    own.serving.worker.start()
    await own.serving.worker.wait_ready()
    assert await asked(own, model) == [2.0]


async def _answers(own: Own, model: str) -> bool:
    try:
        return await asked(own, model) == [2.0]
    except InferenceServerException as failure:
        if "UNAVAILABLE" in str(failure.status()):
            return False
        raise
