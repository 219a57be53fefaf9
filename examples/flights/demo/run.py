"""The demo from the first model to the last answer; what came of it is in `Outcome`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

import pyarrow as pa
import tritonclient.grpc.aio as triton

from examples.flights.data import Flights
from examples.flights.demo import arms, bootstrap
from examples.flights.demo.pace import EventClock
from examples.flights.demo.platform import Operator
from examples.flights.demo.replay import Replay, Traffic
from examples.flights.demo.watch import Watch
from examples.flights.features import MODEL
from headrace.client import EventProducer
from headrace.events.topics import (
    MONITORING_ALERTS,
    ORCHESTRATOR_POLICY,
    ORCHESTRATOR_RUNS,
    REGISTRY_DATASETS,
    REGISTRY_MODELS,
    SERVING_DEPLOYMENTS,
)
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Tail
from headrace.runtime.telemetry import configure_logs

STATIC: Final = f"{MODEL}-january"
"""January's model under another name: nothing retrains it, so it shows what the loop is worth."""

PIPELINE: Final = "flights"
COOLDOWN_DAYS: Final = 28
_MARGINS: Final = {"log_loss": 0.02}
"""What a challenger may be worse by on a hold-out of three days, which tells no finer."""

_TRAINING_SECONDS: Final = 180.0
_FACTS: Final = (
    REGISTRY_MODELS,
    REGISTRY_DATASETS,
    ORCHESTRATOR_RUNS,
    ORCHESTRATOR_POLICY,
    SERVING_DEPLOYMENTS,
    MONITORING_ALERTS,
)


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the platform is."""

    front: str
    grpc: str
    kafka: str
    s3_endpoint: str
    s3_bucket: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What is replayed: bootstrap before `first`, then every day up to, not including, `end`."""

    bootstrap_from: date = date(2013, 1, 1)
    first: date = date(2013, 2, 1)
    end: date = date(2014, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that the report is made of."""

    span: Span
    watch: Watch
    traffic: Traffic
    looped: arms.Scored
    january: arms.Scored
    timer: arms.Scored
    retrainings: int
    seconds: dict[str, float]
    waited_for_monitoring: float
    slowest_retraining: timedelta


async def run(
    flights: Flights,
    addresses: Addresses,
    *,
    span: Span,
    tell: Callable[[str], None],
    progress: Callable[[date, Traffic], None],
) -> Outcome:
    """Bootstrap, replay, and compare the arms. Raises if the first model cannot be made."""
    seconds: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Operator(addresses.front))
        blobs = await stack.enter_async_context(
            Blobs.open(
                endpoint=addresses.s3_endpoint,
                bucket=addresses.s3_bucket,
                access_key=addresses.s3_access_key,
                secret_key=addresses.s3_secret_key,
            )
        )
        watch = Watch(tell=tell, unlooped=frozenset({STATIC}))
        following = asyncio.create_task(follow(addresses.kafka, watch))
        stack.callback(following.cancel)
        with _timed(seconds, "first model"):
            january = bootstrap.labelled_table(flights.between(span.bootstrap_from, span.first))
            await _first_model(platform, blobs, watch, january)
            await _same_model_unlooped(platform, watch)
            await _close_the_loop(platform)
        with _timed(seconds, "replay"):
            traffic, clock = await _replay(flights, addresses, watch, span, progress)
        tell("replay over; comparing with January's model and with a timer")
        with _timed(seconds, "comparison"):
            looped, static, timer, retrainings = await _compare(platform, blobs, watch, span)
    return Outcome(
        span=span,
        watch=watch,
        traffic=traffic,
        looped=looped,
        january=static,
        timer=timer,
        retrainings=retrainings,
        seconds=seconds,
        waited_for_monitoring=clock.waited_for_monitoring,
        slowest_retraining=clock.slowest_retraining,
    )


async def _first_model(platform: Operator, blobs: Blobs, watch: Watch, january: pa.Table) -> None:
    """Upload, train, and promote by hand: the first version of a model is a person's decision."""
    dataset = f"{MODEL}-labelled"
    body = await bootstrap.upload(blobs, january, model=MODEL)
    version = await platform.add_dataset_version(dataset, body)
    await platform.set_promotion_policy(MODEL, {"auto_promote": False})
    run_id = await platform.start_run(
        pipeline=PIPELINE,
        model=MODEL,
        parameters={"model": MODEL, "dataset": dataset, "dataset_version": version},
    )
    await platform.finished_run(run_id, seconds=_TRAINING_SECONDS)
    await _approve(platform, watch, MODEL)


async def _same_model_unlooped(platform: Operator, watch: Watch) -> None:
    """The same files under a name that nothing retrains."""
    await platform.set_promotion_policy(STATIC, {"auto_promote": False})
    version = await platform.copy_version(f"models:/{MODEL}/1", to=STATIC)
    await platform.request_promotion(STATIC, version)
    await _approve(platform, watch, STATIC)


async def _approve(platform: Operator, watch: Watch, model: str) -> None:
    """Approve what waits, and wait until it answers."""
    promoted = await platform.approve_waiting(
        model, approver="demo-approver", comment="first model, trained on January"
    )
    answering = await watch.until(lambda: _deployed(watch, model, promoted), seconds=60)
    if not answering:
        raise TimeoutError(f"{model} v{promoted} was promoted but does not answer")


async def _close_the_loop(platform: Operator) -> None:
    """From here on drift of the looped model retrains it, and a passed gate promotes it."""
    await platform.set_promotion_policy(MODEL, {"auto_promote": True, "margins": _MARGINS})
    await platform.set_retrain_policy(
        MODEL, {"pipeline": PIPELINE, "cooldown_days": COOLDOWN_DAYS, "enabled": True}
    )


async def _replay(
    flights: Flights,
    addresses: Addresses,
    watch: Watch,
    span: Span,
    progress: Callable[[date, Traffic], None],
) -> tuple[Traffic, EventClock]:
    replayed = flights.between(span.first, span.end)
    clock = EventClock(watch=watch, model=MODEL, departures=replayed.event_time)
    async with (
        triton.InferenceServerClient(addresses.grpc) as endpoint,
        EventProducer(kafka=addresses.kafka, source="/flights-client") as producer,
    ):
        replay = Replay(
            flights=replayed,
            models=(MODEL, STATIC),
            endpoint=endpoint,
            producer=producer,
            pace=clock,
        )
        async for day in replay.run():
            progress(day, replay.traffic)
    last = span.end - timedelta(days=2)
    await watch.until(lambda: watch.closed_through(MODEL) >= last, seconds=60)
    await watch.until(lambda: not watch.retraining(MODEL), seconds=60)
    return replay.traffic, clock


async def _compare(
    platform: Operator, blobs: Blobs, watch: Watch, span: Span
) -> tuple[arms.Scored, arms.Scored, arms.Scored, int]:
    table = await arms.labelled_table(platform, blobs, f"{MODEL}-labelled")
    static = await arms.labelled_table(platform, blobs, f"{STATIC}-labelled")
    retrainings = sum(
        fact.name == "RetrainDecided" and getattr(fact.data, "outcome", "") == "started"
        for fact in watch.facts
    )
    first = datetime.combine(span.first, datetime.min.time(), UTC)
    end = datetime.combine(span.end, datetime.min.time(), UTC)
    moments = arms.timer_moments(first, end, retrainings)
    answers = arms.in_both(arms.answered(table), static)
    january = arms.scored(arms.in_both(arms.answered(static), answers))
    timer = await asyncio.to_thread(arms.timer_arm, table, answers, january, moments)
    return arms.scored(answers), january, timer, retrainings


async def follow(kafka: str, watch: Watch) -> None:
    log = configure_logs(service="demo", level="error")
    await Tail(kafka=kafka, topics=_FACTS, on_event=watch.on_event, log=log).run()


def _deployed(watch: Watch, model: str, version: int) -> bool:
    return any(
        fact.name == "ModelDeployed"
        and getattr(fact.data, "model", None) == model
        and getattr(fact.data, "version", None) == version
        for fact in watch.facts
    )


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a part took."""
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began
