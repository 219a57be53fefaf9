"""Every line says what it was written for, and no line holds a secret."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from headrace.runtime.bus import Caller
from headrace.runtime.telemetry import LogContext, configure_logs

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = Caller(
    correlation_id="turn-1", causation_id="event-9", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"
)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_inside_names_its_chain_of_causes_and_a_line_outside_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = configure_logs(service="registry", level="info")
    with LogContext(CALLER):
        log.info("inside")
    log.info("outside")

    inside, outside = lines(capsys)
    assert inside["correlation_id"] == "turn-1"
    assert inside["causation_id"] == "event-9"
    assert inside["trace_id"] == TRACE
    assert not outside.keys() & {"correlation_id", "causation_id", "trace_id"}


def test_a_line_of_a_library_names_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="registry", level="info")
    with LogContext(CALLER):
        logging.getLogger("aiokafka").warning("a coordinator is away")

    assert lines(capsys)[0]["correlation_id"] == "turn-1"


def test_contexts_nest(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure_logs(service="registry", level="info")
    with LogContext(CALLER):
        with LogContext(Caller(correlation_id="turn-2")):
            log.info("inner")
        log.info("outer")

    inner, outer = lines(capsys)
    assert inner["correlation_id"] == "turn-2"
    assert "causation_id" not in inner
    assert outer["correlation_id"] == "turn-1"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hunter2"},
        {"s3_secret_key": "hunter2"},
        {"token": "hunter2"},
        {"headers": {"Authorization": "hunter2"}},
        {"url": "postgresql://tracking:hunter2@127.0.0.1:5432/headrace"},
        {"reason": "cannot reach postgresql://tracking:hunter2@127.0.0.1/x, trying again"},
    ],
)
def test_a_secret_is_not_written(
    capsys: pytest.CaptureFixture[str], fields: dict[str, object]
) -> None:
    configure_logs(service="registry", level="info").warning("something", **fields)

    assert "hunter2" not in capsys.readouterr().err


def test_a_secret_in_a_traceback_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure_logs(service="registry", level="info")
    log.error("gone", exc_info=OSError("postgresql://tracking:hunter2@127.0.0.1/x refused"))

    written = capsys.readouterr().err
    assert "OSError" in written
    assert "hunter2" not in written


def test_a_count_of_tokens_is_no_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(service="orchestrator", level="info").info("claimed", fencing_tokens=7)

    assert lines(capsys)[0]["fencing_tokens"] == 7
