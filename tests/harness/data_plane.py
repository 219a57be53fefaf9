"""A data plane without processes: the dispatcher and a real front-end, models put in by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.runtime.telemetry import Metrics
from services.serving.worker.dispatch import Dispatcher
from services.serving.worker.fronts import Front, Kind, open_front
from services.serving.worker.inference import Inference
from services.serving.worker.meters import Meters
from services.serving.worker.model import Model, load
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Statistics
from services.serving.worker.table import Entry, Reign, Serving, Table


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
    def listening(self, kind: Kind, *, max_message_bytes: int = 2**26) -> Iterator[Front]:
        """A front-end on a free port."""
        front = open_front(
            kind,
            methods=self.dispatcher.methods(),
            address="127.0.0.1:0",
            threads=2,
            max_message_bytes=max_message_bytes,
            shared_port=False,
        )
        front.start()
        try:
            yield front
        finally:
            front.stop(2)


def data_plane(directory: Path, *, max_log_rows: int = 100_000, max_rows: int = 4096) -> DataPlane:
    """An empty data plane whose models lie in `directory`."""
    serving = Serving()
    metrics = Metrics()
    first_answers: list[None] = []
    log = PredictionLog(max_rows=max_log_rows, max_bytes=2**26, ship_rows=2**30, full=lambda: None)
    statistics = Statistics()
    inference = Inference(
        serving=serving,
        log=log,
        meters=Meters(metrics),
        statistics=statistics,
        shadows=Shadows(),
        first_answer=lambda: first_answers.append(None),
        max_rows=max_rows,
    )
    return DataPlane(
        serving=serving,
        log=log,
        statistics=statistics,
        inference=inference,
        dispatcher=Dispatcher(serving=serving, inference=inference, server_name="headrace"),
        metrics=metrics,
        directory=directory,
        first_answers=first_answers,
    )
