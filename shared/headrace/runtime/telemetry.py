"""Logs as events with fields, and the metrics that every process shows."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Log = structlog.stdlib.BoundLogger

_SECRET_NAME: Final = re.compile(
    r"passw|secret|authorization|credential|api_?key|(^|_)token$", re.IGNORECASE
)
_URL_PASSWORD: Final = re.compile(r"(\w://[^\s:/@]*:)[^\s/@]+@")
_HIDDEN: Final = "**********"


class Cause(Protocol):
    """What work is done for; `Caller` is one."""

    @property
    def correlation_id(self) -> str: ...

    @property
    def causation_id(self) -> str | None: ...

    @property
    def traceparent(self) -> str | None: ...


_cause: ContextVar[Cause | None] = ContextVar("cause", default=None)


class LogContext:
    """Inside the block every log line, also a library's, names what it was written for.

    Costs half a microsecond: the fields are taken from the cause only when a line is written.
    """

    __slots__ = ("_cause", "_token")

    def __init__(self, cause: Cause | None) -> None:
        self._cause = cause
        self._token: Token[Cause | None] | None = None

    def __enter__(self) -> None:
        self._token = _cause.set(self._cause)

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            _cause.reset(self._token)


def set_log_context(cause: Cause) -> None:
    """The same for the rest of the running task."""
    _cause.set(cause)


def configure_logs(*, service: str, level: str) -> Log:
    """JSON lines on standard error, one per event; libraries' warnings included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _name_cause,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("headrace").setLevel(number)
    log: Log = structlog.stdlib.get_logger("headrace").bind(service=service)
    return log


def _name_cause(
    logger: object, method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    _ = logger, method
    cause = _cause.get()
    if cause is None:
        return event
    event.setdefault("correlation_id", cause.correlation_id)
    if cause.causation_id:
        event.setdefault("causation_id", cause.causation_id)
    if cause.traceparent:
        event.setdefault("trace_id", cause.traceparent[3:35])
    return event


def hide_secrets(
    logger: object, method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Neither the values of secret fields nor the passwords of URLs are written."""
    _ = logger, method
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: _shown(str(key), inner) for key, inner in value.items()}
    if isinstance(value, str) and "://" in value:
        return _URL_PASSWORD.sub(rf"\1{_HIDDEN}@", value)
    return value


class Metrics:
    """The metrics of the bus and of the process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.consumed = self.counter(
            "messaging_client_consumed_messages", "Records taken from Kafka", "group", "topic"
        )
        self.sent = self.counter(
            "messaging_client_sent_messages", "Records published to Kafka", "topic"
        )
        self.processed = self.histogram(
            "messaging_process_duration_seconds", "One transaction of one partition batch", "group"
        )
        self.operation = self.histogram(
            "messaging_client_operation_duration_seconds",
            "One batch of the bus: process or relay",
            "operation",
        )
        self.fenced = self.counter("fenced_batches", "Batches dropped by a lost partition", "group")
        self.dead_letters = self.counter("dlt_records", "Records dead-lettered", "group", "topic")
        self.duplicates = self.counter("duplicate_records", "Records seen before", "group", "topic")
        self.retries = self.counter("batch_retries", "Batches tried again", "group")
        self.lag = self.gauge("consumer_lag_records", "Records not yet handled", "group", "topic")
        self.lag_seconds = self.gauge(
            "consumer_lag_seconds",
            "Age of the last record handled, while others wait",
            "group",
            "topic",
        )
        self.last_poll_age = self.gauge(
            "consumer_last_poll_age_seconds", "Time since the consumer last asked Kafka", "group"
        )
        self.paused = self.gauge(
            "paused_partitions", "Partitions held back by retry or operator", "group"
        )
        self.parked = self.gauge("parked_keys", "Keys whose records wait for a retry", "group")
        self.parked_records = self.gauge("parked_records", "Records of parked keys", "group")
        self.outbox_pending = self.gauge("outbox_pending", "Events not yet published")
        self.outbox_oldest = self.gauge("outbox_oldest_seconds", "Age of the oldest such event")
        self.leading = self.gauge("relay_leading", "1 in the process whose relay publishes, else 0")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A counter in this registry."""
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A gauge in this registry."""
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:
        """A histogram in this registry, in seconds."""
        return Histogram(name, text, labels, registry=self.registry)
