"""One turn of the loop on real flights of June, held up at every service in turn.

January's models have never seen June's weather, so drift is certain within days. All consumers
are paused before the first flight; they are resumed one by one, and at each station what is
behind it has not happened yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from examples.flights.demo.replay import Traffic
from headrace.client import EventProducer
from headrace.events import MetricColumn, RunReported
from tests.harness.bus import until
from tests.system.world import MODELS, World

FIRST, END = date(2013, 6, 10), date(2013, 6, 20)
LENIENT = {"auto_promote": True, "margins": {"log_loss": 1.0}}
"""The gate is judged, but ten days of June do not have to beat January."""

STATIONS = ("monitoring", "orchestrator", "registry", "serving")


@dataclass(kw_only=True)
class Turn:
    """What had happened at each station before it was resumed, and at the end."""

    traffic: Traffic
    before: dict[str, dict[str, int]] = field(default_factory=dict)
    datasets: dict[str, int] = field(default_factory=dict)
    served: dict[str, dict[str, int]] = field(default_factory=dict)
    reported_while_paused: bool = True
    console_while_paused: int = -1
    console_after: int = -1


async def turn_the_loop(world: World) -> Turn:
    """Replay ten days with every consumer paused, then let the turn go on station by station."""
    for model in MODELS:
        await world.platform.set_promotion_policy(model, LENIENT)
        await world.platform.set_retrain_policy(
            model, {"pipeline": "flights", "cooldown_days": 28, "enabled": True}
        )
    for service in STATIONS:
        await world.consumers(service, "pause")
    turn = Turn(traffic=await world.replay(FIRST, END))
    await _station(world, turn, "monitoring", "DriftDetected")
    turn.datasets = {model: await _dataset_version(world, model) for model in MODELS}
    await _station(world, turn, "orchestrator", "RetrainDecided")
    await _station(world, turn, "registry", "ModelPromoted", version=2)
    turn.served["registry"] = await _served(world)
    await _station(world, turn, "serving", "ModelDeployed", version=2)
    turn.served["serving"] = await _served(world)
    await _ask_once_more(world)
    for model in MODELS:
        await world.until(f"{model}'s first answer", "FirstAnswerServed", model=model, version=2)
    await _report_a_run(world, turn)
    return turn


async def _station(
    world: World, turn: Turn, service: str, next_fact: str, **attributes: Any
) -> None:
    turn.before[service] = {
        name: len(world.facts(name))
        for name in ("DriftDetected", "RetrainDecided", "ModelPromoted", "ModelDeployed")
    }
    await world.consumers(service, "resume")
    for model in MODELS:
        what = f"{next_fact} of {model} after {service} went on"
        await world.until(what, next_fact, seconds=150, model=model, **attributes)


async def _dataset_version(world: World, model: str) -> int:
    return int((await world.platform.dataset_version(f"{model}-labelled"))["version"])


async def _served(world: World) -> dict[str, int]:
    """The version that each model answers with, asked as a client."""
    answered: dict[str, int] = {}
    await world.replay(date(2013, 6, 20), date(2013, 6, 20))
    for model in await world.platform.served_models():
        answered[model["model"]] = int(model["champion"]["version"])
    return answered


async def _ask_once_more(world: World) -> None:
    traffic = await world.replay(date(2013, 6, 20), date(2013, 6, 21))
    assert traffic.failed == []


async def _report_a_run(world: World, turn: Turn) -> None:
    """A producer's run reaches tracking only when tracking reads again."""
    client = MlflowClient(world.stack.urls["front"])
    await world.consumers("tracking", "pause")
    async with EventProducer(kafka=world.stack.urls["kafka"], source="/producer") as producer:
        await producer.emit(
            RunReported(
                run_id="0123456789abcdef0123456789abcdef",
                params={"lr": "0.1"},
                metrics=[MetricColumn(key="loss", values=[1.0, 0.5], timestamps=[1, 2])],
                status="FINISHED",
            )
        )
    turn.reported_while_paused = _has_run(client)
    await world.consumers("tracking", "resume")
    await until(lambda: _has_run(client), what="the reported run")


def _has_run(client: MlflowClient) -> bool:
    try:
        client.get_run("0123456789abcdef0123456789abcdef")
    except MlflowException:
        return False
    return True
