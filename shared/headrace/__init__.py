"""Headrace: event-driven MLOps over Apache Kafka."""

__version__ = "0.1.0"
