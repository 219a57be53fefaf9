"""From a source to the platform: several runs at once, each in order, every step repeatable.

Points first, then files, then status and fingerprint. A run without its fingerprint is sent again
by the next import; what arrived before counts once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from headrace.cli.imports.parts import (
    Document,
    experiment_document,
    joined,
    model_document,
    run_end,
    run_parts,
)
from headrace.cli.imports.report import Report, Show
from headrace.cli.imports.sources import (
    Artifact,
    Broken,
    Experiment,
    Model,
    Run,
    Source,
    Unreachable,
    Unreadable,
    fingerprint,
    identity_of,
)
from headrace.cli.imports.target import Target

ItemT = TypeVar("ItemT", Run, Model)
_ASKED_AT_ONCE: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How an import goes: `experiments` are names, none means all."""

    experiments: Collection[str] = ()
    files: bool = True
    again: bool = False
    dry_run: bool = False
    jobs: int = 4
    registry: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Home:
    """The experiment that runs and models go to, and what their tags say of where they were."""

    name: str
    document: Document
    origin: Mapping[str, str]


class Transfer:
    """One import."""

    def __init__(
        self, source: Source, target: Target, options: Options, report: Report, show: Show
    ) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._report = report
        self._show = show
        self._stopped: Unreachable | None = None
        self._runners = ThreadPoolExecutor(options.jobs, thread_name_prefix="import")
        self._carriers = ThreadPoolExecutor(options.jobs, thread_name_prefix="files")
        self._room = threading.BoundedSemaphore(2 * options.jobs)

    def run(self) -> None:
        """Import everything; failures of single runs are in the report. Raises Unreachable."""
        try:
            for experiment in self._source.experiments():
                if isinstance(experiment, Broken):
                    identity, reason = experiment.identity, experiment.reason
                    self._report.fail("experiment", identity, "", reason)
                elif self._is_wanted(experiment):
                    self._take(experiment)
            self._runners.shutdown(wait=True)
        except BaseException:
            self._stopped = self._stopped or Unreachable("stopped")
            raise
        finally:
            self._runners.shutdown(wait=False, cancel_futures=True)
            self._carriers.shutdown(wait=False, cancel_futures=True)
        if self._stopped is not None:
            raise self._stopped

    def _is_wanted(self, experiment: Experiment) -> bool:
        return not self._options.experiments or experiment.name in self._options.experiments

    def _take(self, experiment: Experiment) -> None:
        label = self._source.label
        home = _Home(
            name=experiment.name,
            document=experiment_document(experiment, label=label),
            origin={"source": label, "experiment_id": experiment.source_id},
        )
        try:
            self._put("experiments", {"experiment": home.document})
        except Unreadable as error:
            self._report.fail("experiment", experiment.source_id, home.name, str(error))
            return
        self._report.count("experiments")
        for models in self._sound("model", self._source.models(experiment), home):
            self._spread("models", models, home, self._import_model)
        for runs in self._sound("run", self._source.runs(experiment), home):
            self._spread("runs", runs, home, self._import_run)

    def _sound(
        self, kind: str, items: Iterator[ItemT | Broken], home: _Home
    ) -> Iterator[list[ItemT]]:
        """What can be read, in batches; what cannot goes to the report."""
        batch: list[ItemT] = []
        try:
            for item in items:
                if isinstance(item, Broken):
                    self._report.fail(kind, item.identity, home.name, item.reason)
                else:
                    batch.append(item)
                if len(batch) == _ASKED_AT_ONCE:
                    yield batch
                    batch = []
        except Unreadable as error:
            self._report.fail(f"{kind}s", "all", home.name, str(error))
        yield batch

    def _spread(
        self,
        kind: str,
        items: Sequence[ItemT],
        home: _Home,
        work: Callable[[ItemT, _Home, str], None],
    ) -> None:
        """Hand the items that are not here yet to the workers; waits while all are busy."""
        with_files = self._options.files
        marks = {identity_of(item): fingerprint(item, with_artifacts=with_files) for item in items}
        known = set() if self._options.again else self._target.known(kind, marks)
        self._report.count("unchanged", len(known))
        self._show.expect(len(items))
        self._show.advance(len(known))
        for item in items:
            identity = identity_of(item)
            if identity in known:
                continue
            self._room.acquire()
            if self._stopped is not None:
                self._room.release()
                raise self._stopped
            step = partial(work, item, home, marks[identity])
            self._runners.submit(self._guarded, kind, identity, home, step)

    def _guarded(self, kind: str, identity: str, home: _Home, work: Callable[[], None]) -> None:
        try:
            if self._stopped is None:
                work()
                self._report.count(kind)
        except Unreachable as error:
            self._stopped = error
        except Exception as error:
            reason = str(error) if isinstance(error, Unreadable) else repr(error)
            self._report.fail(kind.removesuffix("s"), identity, home.name, reason)
        finally:
            self._show.advance()
            self._room.release()

    def _import_run(self, run: Run, home: _Home, mark: str) -> None:
        run = self._source.whole(run)
        files = self._files_of(run)
        part: Document = {"run_id": run.run_id}
        for following in run_parts(run, self._source.series(run), origin=home.origin):
            if len(part) > 1:
                self._send(part, home)
            part = following
        if not files:
            self._send(joined(part, run_end(run, fingerprint=mark)), home)
            return
        place = self._send(part, home)
        unsent = self._carry(files, str(place.get("artifact_uri", "")))
        self._send(run_end(run, fingerprint=None if unsent else mark), home)
        if unsent:
            raise Unreadable("; ".join(unsent))

    def _import_model(self, model: Model, home: _Home, mark: str) -> None:
        files = self._files_of(model)
        document = model_document(model, origin=home.origin)
        place = self._put("models", {"experiment": home.document, "model": document})
        unsent = self._carry(files, str(place.get("artifact_uri", "")))
        if unsent:
            raise Unreadable("; ".join(unsent))
        document = model_document(model, origin=home.origin, fingerprint=mark)
        self._put("models", {"experiment": home.document, "model": document})

    def _files_of(self, item: Run | Model) -> list[Artifact]:
        return list(self._source.artifacts(item)) if self._options.files else []

    def _send(self, part: Document, home: _Home) -> Document:
        place = self._put("runs", {"experiment": home.document, "run": part})
        self._report.count("points", sum(len(one["values"]) for one in part.get("metrics", ())))
        self._show.refresh()
        return place

    def _put(self, kind: str, document: Document) -> Document:
        if self._stopped is not None:
            raise self._stopped
        return {} if self._options.dry_run else self._target.put(kind, document)

    def _carry(self, files: Sequence[Artifact], artifact_uri: str) -> list[str]:
        """Send the files that are not there yet; returns why some could not be sent."""
        if self._options.dry_run or not files:
            self._report.count("files", len(files))
            return []
        present = self._target.sizes(artifact_uri)
        missing = [file for file in files if present.get(file.path) != file.size]
        self._report.count("files_present", len(files) - len(missing))
        waiting: list[Future[str | None]] = [
            self._carriers.submit(self._carry_one, file, artifact_uri) for file in missing
        ]
        return [reason for reason in (one.result() for one in waiting) if reason is not None]

    def _carry_one(self, file: Artifact, artifact_uri: str) -> str | None:
        try:
            self._target.upload(artifact_uri, file)
        except (Unreadable, OSError) as error:
            return f"file {file.path}: {error}"
        self._report.count("files")
        self._report.count("bytes", file.size)
        self._show.refresh()
        return None
