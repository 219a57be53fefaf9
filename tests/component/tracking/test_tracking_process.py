"""What the tests themselves start."""

from __future__ import annotations

import psutil
import pytest

from tests.component.tracking.process import TrackingProcess

PORT = "HEADRACE_TRACKING_HTTP_PORT"


def test_a_process_that_is_not_ready_in_time_is_ended(idle_tracking: TrackingProcess) -> None:
    with pytest.raises(AssertionError):
        idle_tracking.start(seconds=0)
    ports = [child.environ().get(PORT) for child in psutil.Process().children()]
    assert idle_tracking.environment[PORT] not in ports
