from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from headrace.moments import event_time, plain


def test_event_time_is_told_in_utc() -> None:
    eastern = timezone(timedelta(hours=-5))

    assert event_time(datetime(2013, 4, 12, 20, 5, tzinfo=eastern)) == "13 Apr 2013, 01:05"


def test_moments_in_a_text_are_written_for_people() -> None:
    reason = "cooldown until 2013-03-31T06:00:00Z: last alarm of 2013-03-03T00:00:00+00:00"

    assert plain(reason) == "cooldown until 31 Mar 2013, 06:00: last alarm of 3 Mar 2013"


def test_what_only_looks_like_a_moment_is_left_alone() -> None:
    assert (
        plain("run 2013-99-99T06:00:00Z of 2013-03-03") == "run 2013-99-99T06:00:00Z of 2013-03-03"
    )


def test_the_present_moment_survives_with_fractions() -> None:
    assert plain(datetime(2026, 3, 2, 9, 0, 0, 123, UTC).isoformat()) == "2 Mar 2026, 09:00"
