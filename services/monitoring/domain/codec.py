"""A monitor's whole state as bytes, exact: what is decoded goes on as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np

from headrace.errors import Permanent
from services.monitoring.domain.baseline import Baseline, Detector
from services.monitoring.domain.config import MonitorConfig
from services.monitoring.domain.monitor import Channel, Monitor, Run
from services.monitoring.domain.signals import Kind, Signal

VERSION = 1


def encode(monitor: Monitor) -> bytes:
    """Configuration, baseline, thresholds, sums and open alarms, as versioned JSON."""
    document = {
        "version": VERSION,
        "config": asdict(monitor.config),
        "baseline": {
            "days": monitor.baseline.days,
            "shares": {name: share.tolist() for name, share in monitor.baseline.shares.items()},
            "detectors": [asdict(detector) for detector in monitor.baseline.detectors],
        },
        "runs": [_with_text(asdict(run), "onset") for run in monitor.runs],
        "channels": {
            kind.value: _with_text(asdict(channel), "last_day", "alarmed_on")
            for kind, channel in monitor.channels.items()
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode(data: bytes) -> Monitor:
    """The opposite of `encode`; Permanent when the bytes are of another version or damaged."""
    try:
        document = json.loads(data)
        if document["version"] != VERSION:
            raise Permanent(f"monitor state version {document['version']} is not {VERSION}")
        return _monitor(document)
    except (KeyError, TypeError, ValueError) as error:
        raise Permanent(f"monitor state is damaged: {error!r}") from error


def _monitor(document: dict[str, Any]) -> Monitor:
    baseline = document["baseline"]
    return Monitor(
        config=MonitorConfig(**document["config"]),
        baseline=Baseline(
            days=baseline["days"],
            shares={name: np.array(share) for name, share in baseline["shares"].items()},
            detectors=tuple(_detector(detector) for detector in baseline["detectors"]),
        ),
        runs=tuple(Run(**_with_dates(run, "onset")) for run in document["runs"]),
        channels={
            Kind(kind): Channel(**_with_dates(channel, "last_day", "alarmed_on"))
            for kind, channel in document["channels"].items()
        },
    )


def _detector(document: dict[str, Any]) -> Detector:
    signal = document["signal"]
    return Detector(**{**document, "signal": Signal(**{**signal, "kind": Kind(signal["kind"])})})


def _with_text(document: dict[str, Any], *dates: str) -> dict[str, Any]:
    """The document with these dates, where there are any, as ISO text."""
    texts = {name: document[name] and document[name].isoformat() for name in dates}
    return {**document, **texts}


def _with_dates(document: dict[str, Any], *dates: str) -> dict[str, Any]:
    found = {name: document[name] and date.fromisoformat(document[name]) for name in dates}
    return {**document, **found}
