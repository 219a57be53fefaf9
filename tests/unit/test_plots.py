from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import date, timedelta
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.plots import Chart, Line, Marker, bars, date_ticks, line_chart, nice_step

FIRST = date(2013, 2, 1)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - we drew it ourselves


def line(values: list[float], name: str = "m") -> Line:
    points = [(FIRST + timedelta(days=index), value) for index, value in enumerate(values)]
    return Line(name=name, points=points, color=1, dots=points)


@given(VALUES)
def test_every_point_lies_inside_the_axes(values: list[float]) -> None:
    chart = Chart(title="AUC", lines=[line(values)])

    figures = json.loads(drawn(line_chart(chart)).attrib["data-plot"])

    assert figures["low"] - 1e-9 <= min(values)
    assert max(values) <= figures["high"] + 1e-9
    assert len(figures["lines"][0]["days"]) == len(values)


def test_names_cannot_break_out_of_the_drawing() -> None:
    name = "<script>'\"&"

    svg = line_chart(
        Chart(title=name, lines=[line([1, 2], name)], markers=[Marker(day=FIRST, label=name)])
    )

    assert "<script" not in svg
    assert json.loads(drawn(svg).attrib["data-plot"])["lines"][0]["name"] == name
    assert name in unescape(svg)


def test_nothing_to_draw_draws_nothing() -> None:
    assert line_chart(Chart(title="AUC", lines=[])) == ""


def test_a_target_is_always_inside_the_axes() -> None:
    svg = line_chart(Chart(title="AUC", lines=[line([0.5, 0.51])], target=0.7))

    assert json.loads(drawn(svg).attrib["data-plot"])["high"] >= 0.7


def test_markers_outside_the_days_are_left_out() -> None:
    late = Marker(day=FIRST + timedelta(days=400), label="v9")

    assert "v9" not in line_chart(Chart(title="AUC", lines=[line([1, 2])], markers=[late]))


def test_labels_of_close_markers_do_not_overlap() -> None:
    close = [Marker(day=FIRST + timedelta(days=offset), label=f"v{offset}") for offset in (50, 51)]

    svg = line_chart(Chart(title="AUC", lines=[line([0.0] * 100 + [1.0])], markers=close))

    assert "v50" in svg
    assert "v51" not in svg


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.2), (0.37, 0.1), (80, 20), (0, 1.0)])
def test_steps_are_round(span: float, step: float) -> None:
    assert nice_step(span, 5) == pytest.approx(step)


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(0, 4000), st.integers(2, 14))
def test_ticks_are_few_and_inside(first: date, days: int, most: int) -> None:
    last = first + timedelta(days=days)

    ticks = date_ticks(first, last, most)

    assert len(ticks) <= most + 1
    assert all(first <= tick <= last for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_an_empty_second_has_no_bar_and_a_small_one_is_still_seen() -> None:
    svg = drawn(bars([0, 1, 1000], width=30, height=10, color=1, title="rows"))

    heights = [float(rect.attrib["height"]) for rect in svg]

    assert heights == [1.5, 10.0]
