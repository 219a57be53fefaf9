"""WCAG 2.2, 1.4.3: text has a contrast of at least 4.5 to 1 on what it lies on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import services.console

CSS = Path(services.console.__file__).parent / "static" / "console.css"
COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)", CSS.read_text()
    )
}
PAIRS = [
    *[
        (text, ground)
        for text in ("ink", "soft", "faint", "accent")
        for ground in ("bg", "surface")
    ],
    *[(text, "surface") for text in ("good", "warn", "bad")],
    ("on-accent", "accent"),
    ("accent", "accent-soft"),
    ("warn", "warn-soft"),
    ("bad", "bad-soft"),
    ("soft", "warn-soft"),
]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("text", "ground"), PAIRS)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(text: str, ground: str, theme: int) -> None:
    high, low = sorted(
        (luminance(COLOURS[text][theme]), luminance(COLOURS[ground][theme])), reverse=True
    )

    assert (high + 0.05) / (low + 0.05) >= 4.5
