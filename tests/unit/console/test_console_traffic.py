from __future__ import annotations

from datetime import UTC, datetime

from services.console.domain.traffic import KEPT_SECONDS, Traffic


def test_rows_are_counted_in_their_second_whatever_the_order() -> None:
    traffic = Traffic()
    for second, rows in ((102, 5), (100, 7), (102, 1)):
        traffic.add("m", second=second, rows=rows, last_event_us=0)

    assert traffic.series("m", now=103, seconds=4) == (0, 7, 0, 6)
    assert traffic.rate("m", now=103) == 1.3


def test_the_running_second_is_not_counted_yet() -> None:
    traffic = Traffic()
    traffic.add("m", second=100, rows=50, last_event_us=0)

    assert traffic.rate("m", now=100) == 0


def test_old_seconds_are_forgotten_but_the_total_is_kept() -> None:
    traffic = Traffic()
    for second in range(2 * KEPT_SECONDS):
        traffic.add("m", second=second, rows=1, last_event_us=0)

    assert traffic.total("m") == 2 * KEPT_SECONDS
    assert sum(traffic.series("m", now=2 * KEPT_SECONDS, seconds=1000)) == KEPT_SECONDS


def test_event_time_never_goes_back() -> None:
    traffic = Traffic()
    traffic.add("m", second=1, rows=1, last_event_us=2_000_000)
    traffic.add("m", second=2, rows=1, last_event_us=1_000_000)

    assert traffic.event_time("m") == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_a_model_nobody_asked_has_no_traffic() -> None:
    assert Traffic().series("m", now=100, seconds=3) == (0, 0, 0)
    assert Traffic().event_time("m") is None
