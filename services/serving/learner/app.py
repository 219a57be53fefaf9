"""The composition root of the learner process.

It shares schema and outbox with the control process; either may lead the relay.
"""

from __future__ import annotations

from headrace.client.platform import Platform
from headrace.events import LabelObserved, PredictionLogged
from headrace.learning.estimator import river_version
from headrace.runtime.bus import Subscription
from headrace.runtime.service import Resources, Service
from services.serving.learner.intake import GROUP, Intake
from services.serving.learner.learning import Learning
from services.serving.learner.meters import LearnerMeters
from services.serving.learner.progress import LogProgress
from services.serving.learner.publishing import Publishing
from services.serving.settings import Settings


def build(settings: Settings) -> Service[Settings]:
    """Learns what the control process was told to; raises ValueError without a registry.

    Raises Refused where river is not installed.
    """
    if settings.learner_registry_url is None:
        raise ValueError("nowhere to publish: set HEADRACE_SERVING_LEARNER_REGISTRY_URL")
    river_version()
    process = Process(registry=settings.learner_registry_url)
    return Service(
        name="serving",
        settings=settings.model_copy(update={"http_port": settings.learner_http_port}),
        migrations="services.serving.migrations",
        subscriptions=lambda resources: [process.subscription(resources)],
        background=lambda resources: [
            lambda: process.learn(resources),
            lambda: process.publish(resources),
        ],
    )


class Process:
    """Makes the parts when the resources are there."""

    def __init__(self, *, registry: str) -> None:
        self._registry = registry
        self._learning: Learning | None = None

    def subscription(self, resources: Resources[Settings]) -> Subscription:
        """Predictions and labels. Who sends one twice is known by the prediction."""
        intake = Intake(
            project=resources.settings.project,
            clock=resources.clock,
            noted=self._learner(resources).note,
        )
        return Subscription(
            group=GROUP,
            batches={PredictionLogged: intake.on_predictions, LabelObserved: intake.on_labels},
            twins_harmless=True,
        )

    async def learn(self, resources: Resources[Settings]) -> None:
        """Until cancelled."""
        progress = LogProgress(
            kafka=resources.settings.kafka, pool=resources.pool, clock=resources.clock
        )
        try:
            await self._learner(resources).run(progress)
        finally:
            await progress.close()

    async def publish(self, resources: Resources[Settings]) -> None:
        """Until cancelled."""
        with Platform(url=self._registry) as platform:
            await Publishing(
                project=resources.settings.project,
                bus=resources.bus,
                blobs=resources.blobs,
                platform=platform,
                clock=resources.clock,
                log=resources.log,
            ).run()

    def _learner(self, resources: Resources[Settings]) -> Learning:
        if self._learning is None:
            self._learning = Learning(
                project=resources.settings.project,
                bus=resources.bus,
                clock=resources.clock,
                meters=LearnerMeters(resources.metrics),
                log=resources.log,
            )
        return self._learning
