"""Events that serving consumes. A handler only notes what is asked; the reconciler does it.

Fetching and loading take seconds and may be tried many times. Inside the consumer's transaction
they would hold the partition and a row lock, and a rollback could not undo a flip. So the order
commits with the consumer's offset, and the work, done again after a crash if need be, commits its
result together with its event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from headrace.events import (
    ModelPromoted,
    ModelVersionConverted,
    ModelVersionCreated,
    PromotionDecided,
    PromotionRequested,
)
from headrace.runtime.bus import Event, Tx
from services.serving import store
from services.serving.domain import CHAMPION, Deployment, Kind, Order
from services.serving.domain.conversions import worth_converting
from services.serving.store import conversions, traffic


class Handlers:
    """Handlers of one project.

    `noted` is called when there may be work, `rejected` with the model and version of a candidate
    that memory need not hold; both are hints, what counts is in the tables. `give_back` ends the
    rollout whose promotion was rejected.
    """

    def __init__(
        self,
        *,
        project: str,
        converts: bool,
        noted: Callable[[], None],
        rejected: Callable[[str, int], None],
        give_back: Callable[[Event[PromotionDecided], Tx], Awaitable[None]],
    ) -> None:
        self._project = project
        self._converts = converts
        self._noted = noted
        self._rejected = rejected
        self._give_back = give_back

    async def on_model_version_created(self, event: Event[ModelVersionCreated], tx: Tx) -> None:
        """A traffic table may name it from now on, if its files were verified.

        It is converted if it is of a kind that can be.
        """
        data = event.data
        if data.project != self._project or data.digest is None:
            return
        order = _told(event)
        await traffic.know_version(tx.connection, order)
        if self._converts and worth_converting(order.files) is not None:
            await conversions.ask(tx.connection, order)

    async def on_model_version_converted(self, event: Event[ModelVersionConverted], tx: Tx) -> None:
        """What was asked for last of its model, of this version, is done again with it."""
        data = event.data
        if data.project != self._project:
            return
        await traffic.know_version(tx.connection, _told(event))
        asked = await self._asked_last(tx, data)
        if asked is not None:
            await store.take_order(tx.connection, _again(asked.order, event))
            self._noted()

    async def _asked_last(self, tx: Tx, data: ModelVersionConverted) -> Deployment | None:
        """The champion or the candidate after it, if it is this version and natively served."""
        newest = await store.newest_of(tx.connection, project=data.project, model=data.model)
        for asked in newest:
            same = (asked.version, asked.order.digest) == (data.version, data.digest)
            if same and not asked.order.converted:
                return asked
            if asked.order.kind == "deploy":
                break
        return None

    async def on_promotion_requested(self, event: Event[PromotionRequested], tx: Tx) -> None:
        """A candidate: prove it and have it in memory before anybody decides."""
        await self._note("warm", event, tx)

    async def on_model_promoted(self, event: Event[ModelPromoted], tx: Tx) -> None:
        """A new champion, by promotion or rollback."""
        await self._note("deploy", event, tx)

    async def on_promotion_decided(self, event: Event[PromotionDecided], tx: Tx) -> None:
        """A rejected candidate need not stay in memory, nor get traffic of a rollout."""
        data = event.data
        if data.project == self._project and data.outcome == "rejected":
            await store.drop_candidates(
                tx.connection, project=data.project, model=data.model, version=data.version
            )
            self._rejected(data.model, data.version)
            await self._give_back(event, tx)
            self._noted()

    async def _note(
        self, kind: Kind, event: Event[PromotionRequested] | Event[ModelPromoted], tx: Tx
    ) -> None:
        data = event.data
        if data.project != self._project or data.alias != CHAMPION:
            return
        order = Order(
            project=data.project,
            model=data.model,
            version=data.version,
            kind=kind,
            digest=data.digest,
            files=tuple(data.files),
            cause_event=event.id,
            correlation_id=event.correlation_id,
            traceparent=event.envelope.traceparent,
            promoted_at=data.promoted_at if isinstance(data, ModelPromoted) else None,
            converted=tuple(data.converted),
        )
        await traffic.know_version(tx.connection, order)
        if not await store.take_order(tx.connection, order):
            # The state topic told of this promotion before: nothing is to be kept warm for it.
            await store.drop_candidates(
                tx.connection, project=data.project, model=data.model, version=data.version
            )
        self._noted()


def _told(event: Event[ModelVersionCreated] | Event[ModelVersionConverted]) -> Order:
    """A version that nobody asks to be deployed."""
    data = event.data
    return Order(
        project=data.project,
        model=data.model,
        version=data.version,
        kind="warm",
        digest=data.digest or "",
        files=tuple(data.files),
        converted=tuple(data.converted) if isinstance(data, ModelVersionConverted) else (),
        cause_event=event.id,
        correlation_id=event.correlation_id,
        traceparent=None,
    )


def _again(order: Order, event: Event[ModelVersionConverted]) -> Order:
    return replace(
        order,
        converted=tuple(event.data.converted),
        cause_event=event.id,
        correlation_id=event.correlation_id,
        traceparent=event.envelope.traceparent,
        promoted_event=order.promoted_event or order.cause_event,
    )
