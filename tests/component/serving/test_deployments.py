"""From the registry's events to answers, and to the events that tell of them."""

from __future__ import annotations

import asyncio
from functools import partial

import httpx
import pytest
import tritonclient.grpc.aio as triton

from headrace.events import DeploymentFailed, FirstAnswerServed, ModelDeployed
from tests.harness import onnx_models
from tests.harness.bus import until
from tests.harness.serving_processes import Serving, ask, second_worker


async def test_promoted_model_answers_and_its_first_answer_is_told(
    serving: Serving, model: str
) -> None:
    files = await serving.upload(onnx_models.constant(1.0))
    event, turn = await serving.promote(model, 1, files)
    deployed = await serving.heard(ModelDeployed, lambda data: data.model == model)
    assert deployed.correlation_id == turn
    assert deployed.envelope.causation_id == event
    assert (deployed.data.version, deployed.data.previous_version) == (1, None)
    assert deployed.data.files == files
    assert deployed.data.load_ms > 0
    assert await serving.score(model, request_id="first") == 1.0
    first = await serving.heard(FirstAnswerServed, lambda data: data.model == model)
    assert first.data.prediction_id == "first/0"
    assert first.correlation_id == turn
    assert first.envelope.causation_id == deployed.id


async def test_candidate_is_warm_before_it_answers(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    files = await serving.upload(onnx_models.constant(2.0), folder="data/model/")
    turn = await serving.request(model, 2, files)
    await until(lambda: _has_loaded(serving, model, [1, 2]), what="candidate loaded")
    assert await serving.score(model) == 1.0
    with pytest.raises(Exception, match="version 2 is not found"):
        await serving.score(model, version="2")
    await serving.promote(model, 2, files, turn=turn)
    deployed = await serving.heard(
        ModelDeployed, lambda data: data.model == model and data.version == 2
    )
    assert deployed.data.previous_version == 1
    assert await serving.score(model) == 2.0
    assert await serving.score(model, version="1") == 1.0


async def test_rejected_candidate_leaves_memory(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    turn = await serving.request(model, 2, await serving.upload(onnx_models.constant(2.0)))
    await until(lambda: _has_loaded(serving, model, [1, 2]), what="candidate loaded")
    await serving.reject(model, 2, turn)
    await until(lambda: _has_loaded(serving, model, [1]), what="candidate unloaded")


async def test_rollback_brings_the_pinned_version_back(serving: Serving, model: str) -> None:
    old = await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.deploy(model, 2, onnx_models.constant(2.0))
    await serving.promote(model, 1, old)
    back = await serving.heard(
        ModelDeployed, lambda data: data.model == model and data.previous_version == 2
    )
    assert back.data.version == 1
    assert await serving.score(model) == 1.0
    assert await serving.score(model, version="2") == 2.0
    first = await serving.heard(
        FirstAnswerServed,
        lambda data: data.model == model and data.served_at > back.data.deployed_at,
    )
    assert first.correlation_id == back.correlation_id


async def test_wrong_digest_is_refused_and_the_old_model_keeps_answering(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    wrong = "sha256:" + "a" * 64
    files = await serving.upload(onnx_models.constant(2.0), digest=wrong)
    event, turn = await serving.promote(model, 2, files)
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert (failed.data.version, failed.data.kept_version) == (2, 1)
    assert f"model.onnx: expected digest {wrong}" in failed.data.reason
    assert failed.correlation_id == turn
    assert failed.envelope.causation_id == event
    assert await serving.score(model) == 1.0
    await serving.deploy(model, 3, onnx_models.constant(3.0))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no model at all", "is not a model that ONNX Runtime loads"),
        (onnx_models.without_rows(), "every input needs a first dimension for the rows"),
    ],
    ids=["garbage", "scalar input"],
)
async def test_candidate_that_cannot_be_served_is_refused_at_its_request(
    serving: Serving, model: str, content: bytes, reason: str
) -> None:
    await serving.request(model, 1, await serving.upload(content))
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert reason in failed.data.reason
    assert failed.data.kept_version is None


async def test_request_and_promotion_in_one_breath_deploy_once(
    serving: Serving, model: str
) -> None:
    files = await serving.upload(onnx_models.constant(1.0))
    turn = await serving.request(model, 1, files)
    await serving.promote(model, 1, files, turn=turn)
    await serving.heard(ModelDeployed, partial(_is, model, 1))
    assert await serving.score(model) == 1.0
    bad = await serving.upload(b"no model at all")
    turn = await serving.request(model, 2, bad)
    await serving.promote(model, 2, bad, turn=turn)
    await serving.deploy(model, 3, onnx_models.constant(3.0))
    await serving.heard(ModelDeployed, partial(_is, model, 3))
    async with httpx.AsyncClient(base_url=serving.control.url) as http:
        rows = (await http.get(f"/api/serving/v1/models/{model}")).json()["deployments"]
    deploys = [each for each in rows if each["kind"] == "deploy"]
    assert [(each["version"], each["state"]) for each in deploys] == [
        (3, "done"),
        (2, "failed"),
        (1, "done"),
    ]
    assert {each["state"] for each in rows if each["kind"] == "warm"} <= {
        "done",
        "dropped",
        "failed",
    }


async def test_missing_blob_is_refused_by_name(serving: Serving, model: str) -> None:
    (file, _) = await serving.upload(b"x")
    gone = file.model_copy(update={"uri": f"{file.uri}-gone"})
    await serving.promote(model, 1, [gone])
    failed = await serving.heard(DeploymentFailed, lambda data: data.model == model)
    assert "no blob" in failed.data.reason


async def test_swap_under_load_fails_no_request_and_never_goes_back(
    serving: Serving, model: str
) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    stop = asyncio.Event()

    async def keep_asking() -> list[float]:
        answers = []
        async with triton.InferenceServerClient(serving.grpc) as client:
            while not stop.is_set():
                answers.append(await ask(client, model))
        return answers

    askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for version in range(2, 7):
        await serving.deploy(model, version, onnx_models.constant(float(version)))
    stop.set()
    for answers in await asyncio.gather(*askers):
        assert answers == sorted(answers)
        assert answers[-1] >= 5.0
        assert len(answers) > 20


async def test_every_worker_flips_before_the_deployment_is_told(
    serving: Serving, model: str
) -> None:
    async with second_worker(serving) as other:
        for version in (1, 2):
            files = await serving.upload(onnx_models.constant(float(version)))
            await serving.promote(model, version, files)
            await serving.heard(ModelDeployed, partial(_is, model, version))
            for url in (serving.grpc, other.grpc):
                async with triton.InferenceServerClient(url) as client:
                    assert await ask(client, model) == float(version)
        other.process.kill()
        await serving.deploy(model, 3, onnx_models.constant(3.0))
        await serving.heard(ModelDeployed, partial(_is, model, 3))


async def test_other_aliases_and_projects_are_left_alone(serving: Serving, model: str) -> None:
    files = await serving.upload(onnx_models.constant(1.0))
    await serving.promote(model, 1, files, alias="challenger")
    await serving.promote(model, 2, files, project="another")
    await serving.deploy(model, 3, onnx_models.constant(3.0))
    async with httpx.AsyncClient(base_url=serving.control.url) as http:
        one = (await http.get(f"/api/serving/v1/models/{model}")).json()
    assert [each["version"] for each in one["deployments"]] == [3]


async def test_two_models_do_not_touch_each_other(serving: Serving, model: str) -> None:
    other = f"{model}-other"
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.deploy(other, 1, onnx_models.constant(10.0))
    await serving.deploy(other, 2, onnx_models.constant(20.0))
    assert await serving.score(model) == 1.0
    assert await serving.score(other) == 20.0


async def test_rest_shows_models_and_their_history(serving: Serving, model: str) -> None:
    await serving.deploy(model, 1, onnx_models.constant(1.0))
    await serving.heard(ModelDeployed, lambda data: data.model == model)
    async with httpx.AsyncClient(base_url=serving.control.url) as http:
        listed = (await http.get("/api/serving/v1/models")).json()["models"]
        (entry,) = [each for each in listed if each["model"] == model]
        assert entry["champion"]["version"] == 1
        assert entry["workers"][0]["champion"] == 1
        one = (await http.get(f"/api/serving/v1/models/{model}")).json()
        assert [each["state"] for each in one["deployments"]] == ["done"]
        unknown = await http.get("/api/serving/v1/models/nope")
        assert unknown.status_code == 404
        metrics = (await http.get("/metrics")).text
        assert f'deployed_model_version{{model="{model}"}} 1.0' in metrics
        assert "connected_workers 1.0" in metrics


def _is(model: str, version: int, data: ModelDeployed) -> bool:
    return data.model == model and data.version == version


async def _has_loaded(serving: Serving, model: str, versions: list[int]) -> bool:
    async with httpx.AsyncClient(base_url=serving.worker.url) as http:
        status = (await http.get("/api/serving/v1/worker")).json()
    return any(each["name"] == model and each["loaded"] == versions for each in status["models"])
