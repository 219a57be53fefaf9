"""What a worker is made of, and how the parts know one another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.runtime.service import Resources
from headrace.runtime.telemetry import Log
from services.serving.settings import Settings
from services.serving.worker.batches import MAX_ROWS
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.calls import Call
from services.serving.worker.control_link import ControlLink
from services.serving.worker.dispatch import Dispatcher
from services.serving.worker.explicit_control import ExplicitControl
from services.serving.worker.fronts import Front, open_front
from services.serving.worker.fronts.streams import Streams
from services.serving.worker.fronts.tls import Tls
from services.serving.worker.inference import Inference
from services.serving.worker.last_assignment import LastAssignment
from services.serving.worker.log_link import LogLink
from services.serving.worker.log_rules import Rules
from services.serving.worker.meters import Meters, StatisticsCollector
from services.serving.worker.methods.logs import LogSwitches
from services.serving.worker.methods.repository import ControlledByEvents, ModelControl
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.residency import Residency
from services.serving.worker.residency.heap import share_one_heap
from services.serving.worker.residency.meters import ResidencyCollector
from services.serving.worker.routing.meters import ShadowCollector
from services.serving.worker.routing.shadow_link import ShadowLink
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Ledger, NodeStatistics, Statistics
from services.serving.worker.table import Serving


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a worker is made of."""

    front: Front
    control: ControlLink
    log: LogLink
    predictions: PredictionLog
    methods: Mapping[str, Call]
    shadows: ShadowLink


def wire(resources: Resources[Settings], *, worker: str, serving: Serving) -> Parts:
    """All parts of a worker that listens, and does not answer yet."""
    settings = resources.settings
    meters = Meters(resources.metrics)
    rules = Rules(hash_key=settings.log_hash_key.get_secret_value())
    residency = Residency(settings.model_memory_bytes)
    if residency.budget:
        share_one_heap()
    resources.metrics.registry.register(ResidencyCollector(residency))
    control = ControlLink(
        socket=settings.socket,
        worker=worker,
        serving=serving,
        limits=settings.sandbox_limits,
        last=LastAssignment(directory=settings.cache_dir, log=resources.log),
        recall_seconds=settings.recall_seconds,
        meters=meters,
        log=resources.log,
        rules=rules,
        residency=residency,
    )
    log = LogLink(
        socket=settings.socket,
        worker=worker,
        project=settings.project,
        linger_ms=settings.log_linger_ms,
        meters=meters,
        log=resources.log,
    )
    predictions = PredictionLog(
        max_rows=settings.log_max_rows,
        max_bytes=settings.log_max_bytes,
        ship_rows=MAX_ROWS,
        full=log.wake,
        rules=rules,
    )
    folder = settings.socket.with_name(f"{settings.socket.name}.counts")
    ledger = _ledger(folder, settings, resources.log)
    statistics = Statistics(ledger)
    shadows = Shadows()
    inference = Inference(
        serving=serving,
        log=predictions,
        statistics=statistics,
        shadows=shadows,
        first_answer=control.status_changed,
        max_rows=settings.max_batch_rows,
        limits=LaneLimits(queue=settings.max_queue),
        lenient=settings.triton_lenient,
    )
    resources.metrics.registry.register(StatisticsCollector(statistics, inference.lanes))
    resources.metrics.registry.register(ShadowCollector(shadows))
    switches = LogSwitches()
    logging.getLogger("headrace").addFilter(switches)
    dispatcher = Dispatcher(
        serving=serving,
        inference=inference,
        statistics=NodeStatistics(statistics, ledger=ledger, folder=folder),
        server_name=settings.server_name,
        max_rows=settings.max_batch_rows,
        log_switches=switches,
        model_control=_model_control(settings, worker),
    )
    methods = dispatcher.methods()
    front = open_front(
        settings.front,
        methods=methods,
        accepting=dispatcher.accepting(),
        address=f"{settings.grpc_host}:{settings.grpc_port}",
        threads=settings.front_threads,
        max_message_bytes=settings.max_message_bytes,
        shared_port=settings.grpc_shared_port,
        streams=Streams(calls=dispatcher.streams(), limit=settings.max_streams),
        tls=_tls(settings),
    )
    return Parts(
        front=front,
        control=control,
        log=log,
        predictions=predictions,
        methods=methods,
        shadows=ShadowLink(
            socket=settings.socket,
            worker=worker,
            project=settings.project,
            shadows=shadows,
            rules=rules,
        ),
    )


def _model_control(settings: Settings, worker: str) -> ModelControl:
    if settings.model_control == "events":
        return ControlledByEvents()
    return ExplicitControl(socket_path=settings.socket, worker=worker)


def _ledger(folder: Path, settings: Settings, log: Log) -> Ledger:
    """Named for what no two workers of a machine share, so that its successor finds it."""
    try:
        return Ledger.claim(folder, str(settings.worker_http_port))
    except OSError as error:
        log.warning("counts_not_shared", reason=repr(error))
        return Ledger()


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(
        certificate=settings.tls_certificate,
        key=settings.tls_key,
        client_ca=settings.tls_client_ca,
    )
