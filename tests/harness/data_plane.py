"""A data plane without processes: the dispatcher and a real front-end, models put in by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from headrace.runtime.service.server import HttpServer
from headrace.runtime.telemetry import Metrics, configure_logs
from services.serving.domain.formats import Format
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.dispatch import Dispatcher
from services.serving.worker.fronts import Front, Kind, open_front
from services.serving.worker.fronts.streams import Streams
from services.serving.worker.fronts.tls import Tls
from services.serving.worker.inference import Inference
from services.serving.worker.meters import StatisticsCollector
from services.serving.worker.model import Model, load
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.rest import Limits, RestApplication
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Statistics
from services.serving.worker.table import Entry, Reign, Serving, Table

_LIMITS: Final = LaneLimits()


@dataclass(frozen=True, kw_only=True)
class DataPlane:
    """What a test drives and looks at."""

    serving: Serving
    log: PredictionLog
    statistics: Statistics
    inference: Inference
    dispatcher: Dispatcher
    metrics: Metrics
    directory: Path
    first_answers: list[None] = field(default_factory=list)

    def load(self, name: str, version: int, onnx: bytes) -> Model:
        """A model from its bytes, not yet answering."""
        path = self.directory / f"{name}-{version}.onnx"
        path.write_bytes(onnx)
        return load(path, name=name, version=version)

    def load_file(self, name: str, path: Path, kind: Format) -> Model:
        """Version 1 of a model from a file of any format, not yet answering."""
        return load(path, name=name, version=1, kind=kind)

    def answer_with(self, champions: Mapping[str, Model | None], *pinned: Model) -> None:
        """Replace the table: each champion, and the pinned versions beside them."""
        entries = {}
        for name, model in champions.items():
            versions = {other.version: other for other in pinned if other.name == name}
            if model is not None:
                versions[model.version] = model
            reign = Reign(model=model, deployment=1) if model is not None else None
            entries[name] = Entry(champion=reign, versions=versions)
        self.serving.table = Table(entries=entries)
        self.serving.loaded = True

    @contextmanager
    def listening(
        self,
        kind: Kind,
        *,
        max_message_bytes: int = 2**26,
        max_streams: int = 64,
        tls: Tls | None = None,
    ) -> Iterator[Front]:
        """A front-end on a free port."""
        front = open_front(
            kind,
            methods=self.dispatcher.methods(),
            accepting=self.dispatcher.accepting(),
            address="127.0.0.1:0",
            threads=2,
            max_message_bytes=max_message_bytes,
            shared_port=False,
            streams=Streams(calls=self.dispatcher.streams(), limit=max_streams),
            tls=tls,
        )
        front.start()
        try:
            yield front
        finally:
            front.stop(2)

    @contextmanager
    def listening_rest(
        self, *, max_body: int = 2**26, max_json: int = 2**24, opened: bool = True
    ) -> Iterator[str]:
        """The REST side on a free port of the HTTP server that services have; its address.

        Before it is `opened` it is a worker that still waits for its champions.
        """
        rest = RestApplication(
            threads=2,
            limits=Limits(body=max_body, json=max_json),
            log=configure_logs(service="test", level="warning"),
        )
        if opened:
            rest.open(self.dispatcher.methods())
        server = HttpServer(rest, host="127.0.0.1", port=0)
        listener = server.listen()
        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: uvloop.run(server.run(listener)))
        thread.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.finish()
            thread.join()


def data_plane(
    directory: Path,
    *,
    max_log_rows: int = 100_000,
    max_rows: int = 4096,
    limits: LaneLimits = _LIMITS,
    lenient: bool = False,
) -> DataPlane:
    """An empty data plane whose models lie in `directory`."""
    serving = Serving()
    metrics = Metrics()
    first_answers: list[None] = []
    log = PredictionLog(max_rows=max_log_rows, max_bytes=2**26, ship_rows=2**30, full=lambda: None)
    statistics = Statistics()
    inference = Inference(
        serving=serving,
        log=log,
        statistics=statistics,
        shadows=Shadows(),
        first_answer=lambda: first_answers.append(None),
        max_rows=max_rows,
        limits=limits,
        lenient=lenient,
    )
    metrics.registry.register(StatisticsCollector(statistics, inference.lanes))
    return DataPlane(
        serving=serving,
        log=log,
        statistics=statistics,
        inference=inference,
        dispatcher=Dispatcher(
            serving=serving,
            inference=inference,
            statistics=statistics,
            server_name="headrace",
            max_rows=max_rows,
        ),
        metrics=metrics,
        directory=directory,
        first_answers=first_answers,
    )
