"""One command's conversation with the platform, and how its answer is shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import httpx
from rich.console import Console
from rich.table import Table

DEFAULT_URL: Final = "http://127.0.0.1:18000"
REFUSED: Final = 1
UNREACHABLE: Final = 3
_WIDE: Final = 200
"""Columns where nobody reads along: a pipe cuts nothing."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where the platform is and whether answers are printed as JSON."""

    url: str
    as_json: bool

    @classmethod
    def of(cls, url: str | None, *, as_json: bool) -> Session:
        """From options, then HEADRACE_URL, then the local stack."""
        return cls(url=url or os.environ.get("HEADRACE_URL", DEFAULT_URL), as_json=as_json)

    def call(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        **query: str | None,
    ) -> dict[str, Any]:
        """One request; ends the program with a clear line if it cannot be answered."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            answer = httpx.request(
                method, f"{self.url}{path}", json=document, params=given, timeout=30
            )
        except httpx.HTTPError as error:
            fail(f"the platform at {self.url} cannot be reached: {error}", code=UNREACHABLE)
        if answer.is_error:
            fail(_reason(answer), code=REFUSED)
        body: dict[str, Any] = answer.json()
        return body

    def show(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """A table for people, or JSON for programs."""
        if self.as_json:
            print(json.dumps(rows, default=str))  # noqa: T201 - this is the output
            return
        table = Table()
        for name in columns:
            table.add_column(name, no_wrap=name.endswith("_id"), overflow="fold")
        for row in rows:
            table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
        console = Console()
        (console if console.is_terminal else Console(width=_WIDE)).print(table)

    def say(self, document: Mapping[str, Any], line: str) -> None:
        """One line for people, or the whole answer as JSON."""
        print(json.dumps(document, default=str) if self.as_json else line)  # noqa: T201


def fail(message: str, *, code: int) -> NoReturn:
    """End the program."""
    sys.stderr.write(f"headrace: {message}\n")
    raise SystemExit(code)


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return f"{answer.request.method} {answer.url.path}: {answer.status_code}"
    return f"{body.get('error_code', answer.status_code)}: {body.get('message', body)}"
