"""What the learner process shows of its learners; exact over restarts, since the schema counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from headrace.runtime.telemetry import Metrics
from services.serving.domain.learners import Learner


class LearnerMeters:
    """Gauges by learner."""

    def __init__(self, metrics: Metrics) -> None:
        self._learned = metrics.gauge("learner_learned", "Examples learned from", "learner")
        self._lost = metrics.gauge(
            "learner_not_learned", "Labels and predictions not learned from", "learner", "why"
        )
        self._failed = metrics.gauge("learner_failed", "1 where a learner stands still", "learner")
        self._unpublished = metrics.gauge(
            "learner_unpublished_snapshots", "Snapshots that the registry does not have", "learner"
        )

    def show(self, learners: Sequence[Learner], unpublished: Mapping[str, int]) -> None:
        """How far they are now."""
        for gauge in (self._learned, self._lost, self._failed, self._unpublished):
            gauge.clear()
        for learner in learners:
            self._learned.labels(learner.name).set(learner.state.learned)
            self._failed.labels(learner.name).set(learner.failure is not None)
            self._unpublished.labels(learner.name).set(unpublished.get(learner.name, 0))
            for why, count in asdict(learner.counts).items():
                self._lost.labels(learner.name, why).set(count)
