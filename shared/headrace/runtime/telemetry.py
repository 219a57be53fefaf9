"""Logs as events with fields, and the metrics that every process shows."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Log = structlog.stdlib.BoundLogger


def configure_logs(*, service: str, level: str) -> Log:
    """JSON lines on standard error, one per event; libraries' warnings included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
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
            "One operation of the bus: send, process or relay",
            "operation",
        )
        self.fenced = self.counter("fenced_batches", "Batches dropped by a lost partition", "group")
        self.dead_letters = self.counter("dlt_records", "Records dead-lettered", "group", "topic")
        self.duplicates = self.counter("duplicate_records", "Records seen before", "group", "topic")
        self.retries = self.counter("batch_retries", "Batches tried again", "group")
        self.lag = self.gauge("consumer_lag_records", "Records not yet handled", "group", "topic")
        self.lag_seconds = self.gauge(
            "consumer_lag_seconds", "Age of the oldest record not yet handled", "group", "topic"
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
