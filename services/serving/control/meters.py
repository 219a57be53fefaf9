"""What the control process counts."""

from __future__ import annotations

from headrace.runtime.telemetry import Metrics
from services.serving.domain import Deployment


class DeploymentMeters:
    """Deployments, failures, the time they took, and who is there to answer."""

    def __init__(self, metrics: Metrics) -> None:
        self._deployed = metrics.counter("deployments", "Versions that became champion", "model")
        self._failed = metrics.counter("deployment_failures", "Deployments given up", "kind")
        self._load = metrics.histogram("deployment_load_seconds", "Fetch, verify, prove and warm")
        self._swap = metrics.histogram("deployment_swap_seconds", "The flip over all workers")
        self._version = metrics.gauge("deployed_model_version", "Champion version", "model")
        self._workers = metrics.gauge("connected_workers", "Workers on the Unix socket")

    def deployed(self, deployment: Deployment) -> None:
        """A version answers now."""
        self._deployed.labels(deployment.model).inc()
        self._load.observe((deployment.load_ms or 0.0) / 1000)
        self._swap.observe((deployment.swap_ms or 0.0) / 1000)
        self._version.labels(deployment.model).set(deployment.version)

    def failed(self, kind: str) -> None:
        """A deployment or a warm-up was given up."""
        self._failed.labels(kind).inc()

    def workers(self, count: int) -> None:
        """Workers that are connected."""
        self._workers.set(count)
