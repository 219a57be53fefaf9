"""Drift detection without I/O: daily statistics of a version in, findings with evidence out."""

from services.monitoring.domain.codec import decode, encode
from services.monitoring.domain.config import MonitorConfig
from services.monitoring.domain.findings import Finding, Shift, Status
from services.monitoring.domain.monitor import Monitor
from services.monitoring.domain.signals import Kind

__all__ = ["Finding", "Kind", "Monitor", "MonitorConfig", "Shift", "Status", "decode", "encode"]
