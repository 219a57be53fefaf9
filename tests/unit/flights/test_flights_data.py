"""The client's data set, read from a small copy of the package's layout."""

from __future__ import annotations

import io
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from examples.flights import data
from examples.flights.features import CATEGORICAL, DATATYPES, INPUTS, NUMERIC
from headrace.errors import Refused

FLIGHTS = """\
dep_delay,arr_time,arr_delay,carrier,flight,origin,dest,distance,hour,minute,time_hour
2,830,11,UA,1545,EWR,IAH,1400,5,15,2013-01-01T10:00:00Z
NA,NA,NA,AA,7,JFK,SJU,1598,23,59,2013-01-02T04:00:00Z
30,410,16,B6,9,JFK,SJU,1598,23,55,2013-01-02T04:00:00Z
-5,1010,15,DL,3,LGA,ATL,762,8,0,2013-07-01T12:00:00Z
"""
WEATHER = """\
origin,time_hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib
EWR,2013-01-01T10:00:00Z,39.02,28.04,64.43,260,12.7,NA,0,1011.9,10
"""
AIRPORTS = """\
faa,tzone
IAH,America/Chicago
ATL,America/New_York
"""


@pytest.fixture
def flights(tmp_path: Path) -> data.Flights:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flights.csv", FLIGHTS)
    (tmp_path / "flights.csv.zip").write_bytes(packed.getvalue())
    (tmp_path / "weather.csv").write_text(WEATHER)
    (tmp_path / "airports.csv").write_text(AIRPORTS)
    return data.load(tmp_path)


def test_flights_come_in_order_of_scheduled_departure_on_new_york_clocks(
    flights: data.Flights,
) -> None:
    assert [str(time)[:16] for time in flights.event_time] == [
        "2013-01-01T05:15",
        "2013-01-01T23:55",
        "2013-01-01T23:59",
        "2013-07-01T08:00",
    ]


def test_labels_are_known_when_the_flight_has_landed_wherever_that_is(
    flights: data.Flights,
) -> None:
    landed = [str(time)[:16] for time in flights.observed_at]
    houston, san_juan, cancelled, atlanta = landed
    assert houston == "2013-01-01T09:30"  # 08:30 in Houston
    assert san_juan == "2013-01-02T03:10"  # 04:10 in San Juan, over midnight
    assert cancelled == "NaT"
    assert atlanta == "2013-07-01T10:10"


def test_only_more_than_fifteen_minutes_is_late_and_cancelled_flights_have_no_label(
    flights: data.Flights,
) -> None:
    assert flights.label.tolist()[:2] == [0.0, 1.0]
    assert np.isnan(flights.label[2])
    assert flights.label[3] == 0.0


def test_inputs_are_raw_and_complete_with_nan_where_the_weather_is_unknown(
    flights: data.Flights,
) -> None:
    assert tuple(flights.columns) == INPUTS == tuple(DATATYPES)
    assert [flights.columns[name][0] for name in CATEGORICAL] == ["UA", "EWR", "IAH"]
    assert all(flights.columns[name].dtype == np.float32 for name in NUMERIC)
    assert flights.columns["temp"][0] == np.float32(39.02)
    assert np.isnan(flights.columns["wind_gust"][0])
    assert np.isnan(flights.columns["temp"][1:]).all()
    assert flights.columns["weekday"].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_between_is_half_open_by_scheduled_departure(flights: data.Flights) -> None:
    assert len(flights.between(date(2013, 1, 1), date(2013, 1, 2))) == 3
    assert len(flights.between(date(2013, 1, 2), date(2013, 7, 2))) == 1


def test_an_archive_of_another_content_is_refused_and_removed(tmp_path: Path) -> None:
    (tmp_path / data.ARCHIVE).write_bytes(b"something else")
    with pytest.raises(Refused, match="sha256"):
        data.fetch(tmp_path)
    assert not (tmp_path / data.ARCHIVE).exists()
