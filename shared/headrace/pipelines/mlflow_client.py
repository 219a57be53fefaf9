"""The unmodified mlflow client inside a step: the platform as its server, the chain of causes."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.pipelines.context import StepContext


def connect_mlflow(context: StepContext) -> None:
    """Point mlflow at the platform; its calls carry the step's correlation and causation ids."""
    import mlflow  # noqa: PLC0415  seconds, unless the pipeline preloads it
    from mlflow.tracking.request_header import registry  # noqa: PLC0415
    from mlflow.tracking.request_header.abstract_request_header_provider import (  # noqa: PLC0415
        RequestHeaderProvider,
    )

    headers = dict(context.headers)

    class ChainOfCauses(RequestHeaderProvider):  # type: ignore[misc]  # mlflow has no types
        """What mlflow asks for headers of each request."""

        def in_context(self) -> bool:
            return True

        def request_headers(self) -> Mapping[str, str]:
            return headers

    mlflow.set_tracking_uri(context.tracking_uri)
    mlflow.set_registry_uri(context.tracking_uri)
    registry._request_header_provider_registry.register(ChainOfCauses)  # noqa: SLF001
