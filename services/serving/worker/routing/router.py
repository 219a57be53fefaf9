"""Who answers a request: the version that it names, or the arm that its key falls to."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from headrace.ids import new_id
from headrace.rpc.inference.open_inference_pb2 import ModelInferRequest
from headrace.rpc.serving.v1.request_head_pb2 import RequestHead
from services.serving.link.messages import ArmCounts, TrafficAssignment
from services.serving.worker.calls import Details
from services.serving.worker.messages import parse
from services.serving.worker.model import Model
from services.serving.worker.routing.buckets import BUCKETS, bucket_of, salt_bytes
from services.serving.worker.table import CHAMPION, Entry, Reign, Serving

_ENTITY: Final = "entity_id"
_STICKY: Final = "x-sticky-key"
_ROUTE: Final = "x-seldon-route"
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


@dataclass(slots=True)
class Tally:
    """What one arm answered under one table."""

    requests: int = 0
    failures: int = 0
    slow: int = 0


class Routes:
    """A traffic table on this worker: bucket to arm, arm to version, and what each arm did."""

    def __init__(self, assigned: TrafficAssignment, champion: int) -> None:
        self.assigned = assigned
        self.champion = champion
        self.salt = salt_bytes(assigned.salt)
        self.versions = {arm.name: arm.version for arm in assigned.arms} | {CHAMPION: champion}
        self.owners = _owners(assigned)
        self.propensities = {arm: self.owners.count(arm) / BUCKETS for arm in self.versions}
        self.tallies = {arm: Tally() for arm in self.versions}
        self._lock = threading.Lock()
        slow_ms = assigned.slow_ms
        self._slow_ns = float("inf") if slow_ms is None else slow_ms * 1e6

    def count(self, arm: str, total_ns: int, *, failed: bool) -> None:
        """One more request of an arm ended."""
        with self._lock:
            tally = self.tallies[arm]
            tally.requests += 1
            tally.failures += failed
            tally.slow += total_ns >= self._slow_ns

    def counts(self) -> list[ArmCounts]:
        """What every arm did since this table came here."""
        with self._lock:
            return [
                ArmCounts(arm=arm, requests=each.requests, failures=each.failures, slow=each.slow)
                for arm, each in self.tallies.items()
            ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Who answers a request, and what the log and the client are told of it.

    `propensity` is 1 where no table chose, and 0 where an earlier answer's route did.
    """

    model: Model
    reign: Reign | None
    request_id: str
    routes: Routes | None = None
    arm: str = ""
    propensity: float = 1.0
    labelled: bool = False
    shadows: Sequence[tuple[Model, int]] = ()

    @property
    def table_version(self) -> int:
        """Version of the table that chose; 0 where none did."""
        return self.routes.assigned.table if self.routes else 0

    @property
    def experiment(self) -> str:
        """Name of the experiment; empty without one."""
        return (self.routes.assigned.experiment or "") if self.routes else ""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What goes before the answer: nothing where neither a table nor a label chose."""
        if self.routes is None and not self.labelled:
            return ()
        told = [
            ("x-request-id", header_text(self.request_id)),
            ("x-model-version", self.model.version_text),
            (_ROUTE, f":{header_text(self.model.name)}_{self.model.version_text}:"),
        ]
        if self.experiment:
            told.append(("x-experiment", header_text(f"{self.experiment}/{self.arm}")))
        return told

    def ended(self, total_ns: int, *, failed: bool = False) -> None:
        """The request was answered, or refused by the model; counted for its arm."""
        if self.routes is not None and self.propensity:
            self.routes.count(self.arm, total_ns, failed=failed)


class Router:
    """Chooses from the table in force; any thread may ask."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def choose(self, head: RequestHead, payload: bytes, details: Details) -> Choice:
        """Who answers a request, whose head was read already.

        Raises Failure as `Table.answering` does.
        """
        table = self._serving.table
        request_id = head.id or new_id()
        name, wanted = head.model_name, head.model_version
        entry = table.entries.get(name)
        if wanted or entry is None or entry.routes is None or entry.champion is None:
            model, reign = table.answering(name, wanted)
            labelled = bool(wanted) and not wanted.isdigit()
            return Choice(model=model, reign=reign, request_id=request_id, labelled=labelled)
        return _routed(
            entry, entry.champion, entry.routes, _Asked(head, payload, details), request_id
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    head: RequestHead
    payload: bytes
    details: Details

    @property
    def entity(self) -> str:
        """The parameter `entity_id` as text; empty without one."""
        if not self.head.parameters:
            return ""
        parameters = parse(ModelInferRequest, self.payload).parameters
        if _ENTITY not in parameters:
            return ""
        given = parameters[_ENTITY]
        kind = given.WhichOneof("parameter_choice")
        return str(getattr(given, kind)) if kind else ""


def _routed(
    entry: Entry, champion: Reign, routes: Routes, asked: _Asked, request_id: str
) -> Choice:
    sticky = asked.details.first(_STICKY)
    route = None if sticky else asked.details.first(_ROUTE)
    pinned = _pinned_arm(routes, asked.head.model_name, route)
    arm = pinned or routes.owners[_bucket(routes.salt, sticky, asked)]
    model = entry.arms.get(routes.versions[arm])
    if model is None:
        # The arm could not be loaded here: the champion answers rather than nobody.
        return Choice(model=champion.model, reign=champion, request_id=request_id)
    return Choice(
        model=model,
        reign=champion if model is champion.model else None,
        request_id=request_id,
        routes=routes,
        arm=arm,
        propensity=0.0 if pinned else routes.propensities[arm],
        shadows=entry.shadows,
    )


def _bucket(salt: bytes, sticky: str | None, asked: _Asked) -> int:
    key = sticky or asked.entity or asked.head.id
    if not key:
        return random.randrange(BUCKETS)  # noqa: S311 - a share of traffic, not a secret
    return bucket_of(salt, key.encode())


def _pinned_arm(routes: Routes, name: str, route: str | None) -> str | None:
    """The arm of an earlier answer, as its `x-seldon-route` says: `:model_version:`."""
    if not route:
        return None
    for part in route.split(":"):
        model, _, version = part.rpartition("_")
        if model in (name, header_text(name)) and version.isdigit():
            for arm, number in routes.versions.items():
                if number == int(version):
                    return arm
    return None


def header_text(text: str) -> str:
    """Text as metadata and headers take it: percent-encoded where it is not printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return quote(text, safe=_PRINTABLE, errors="replace")


def _owners(assigned: TrafficAssignment) -> list[str]:
    owners: list[str] = []
    for bucket in assigned.buckets:
        owners.extend([bucket.arm] * (bucket.end - len(owners)))
    return owners
