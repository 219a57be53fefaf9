"""Serving's further processes: `python -m services.serving <argument>`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of them.

    `port_variable` and `only_with` are names of variables without HEADRACE_SERVING_; a side
    with `only_with` runs where a person has set one of those.
    """

    argument: str
    offset: int
    port_variable: str
    only_with: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name as a process of the stack."""
        return f"serving-{self.argument}"

    def wanted(self, environment: Mapping[str, str]) -> bool:
        """Whether these variables ask for it."""
        return not self.only_with or any(
            environment.get(f"HEADRACE_SERVING_{name}") for name in self.only_with
        )


SIDES = (
    Side(argument="asynchronous", offset=18, port_variable="ASYNC_HTTP_PORT"),
    Side(
        argument="exporters",
        offset=19,
        port_variable="EXPORT_HTTP_PORT",
        only_with=("EXPORT_HTTP_URL", "EXPORT_FILES"),
    ),
    Side(
        argument="learner",
        offset=20,
        port_variable="LEARNER_HTTP_PORT",
        only_with=("LEARNER_REGISTRY_URL",),
    ),
)
