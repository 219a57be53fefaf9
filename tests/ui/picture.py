"""`python -m tests.ui.picture URL FILE`: a picture of a running console, for the README."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.ui.conftest import BROWSERS, FLAGS


def take(url: str, file: Path, *, width: int = 1280, height: int = 1180) -> None:
    """Write what a person sees first; an error if the page does not become live."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit("no Chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="light",
            timezone_id="UTC",
        )
        page.goto(url)
        expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    take(sys.argv[1], Path(sys.argv[2]))
