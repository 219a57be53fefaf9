"""What the `headrace` command can do."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from cyclopts import App, Parameter

from headrace import __version__
from headrace.cli.events import app as events
from headrace.cli.imports.commands import app as imports
from headrace.cli.models import app as models
from headrace.cli.session import UNREACHABLE, Session, fail

app = App(name="headrace", help="Event-driven MLOps over Kafka.", version=__version__)
topics = App(name="topics", help="Kafka topics as declared in code.")
app.command(topics)
app.command(events)
app.command(imports)
app.command(models)

Url = Annotated[str | None, Parameter(help="Front door; else HEADRACE_URL, else the local stack")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON")]
Person = Annotated[str | None, Parameter(help="Who asks; else the login name")]


def main() -> None:
    """Entry point of the console script."""
    app()


@app.command
def status(*, url: Url = None, json: Json = False) -> None:
    """Whether the platform answers, and which models it knows."""
    session = Session.of(url, as_json=json)
    try:
        front = httpx.get(f"{session.url}/readyz", timeout=10)
    except httpx.HTTPError as error:
        fail(f"the platform at {session.url} cannot be reached: {error}", code=UNREACHABLE)
    found = session.call("GET", "/api/registry/v1/models")
    state = {"url": session.url, "ready": front.is_success, "models": len(found["models"])}
    line = (
        f"{session.url}: {'ready' if front.is_success else 'not ready'}, {state['models']} models"
    )
    session.say(state, line)


@app.command
def promote(
    model: str, version: int, *, by: Person = None, url: Url = None, json: Json = False
) -> None:
    """Ask that a version become champion; gate and policy decide, or a person does."""
    session = Session.of(url, as_json=json)
    made = session.call(
        "POST",
        f"/api/registry/v1/models/{_part(model)}/versions/{version}/promotion-requests",
        {"requested_by": by or getpass.getuser()},
    )
    session.say(made, f"{made['outcome']}: request {made['request_id']} {made['reason']}")


@app.command
def requests(
    *, model: str | None = None, state: str | None = None, url: Url = None, json: Json = False
) -> None:
    """Promotion requests."""
    session = Session.of(url, as_json=json)
    found = session.call("GET", "/api/registry/v1/promotion-requests", model=model, state=state)
    columns = ("request_id", "model", "version", "state", "requested_by", "reason")
    session.show(found["promotion_requests"], columns)


@app.command
def approve(
    request_id: str,
    *,
    by: Person = None,
    comment: str = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Approve a waiting promotion; nobody approves a request of their own."""
    _decide(request_id, "approve", by, comment, Session.of(url, as_json=json))


@app.command
def reject(
    request_id: str,
    *,
    by: Person = None,
    comment: str = "",
    url: Url = None,
    json: Json = False,
) -> None:
    """Reject a waiting promotion."""
    _decide(request_id, "reject", by, comment, Session.of(url, as_json=json))


def _decide(request_id: str, verdict: str, by: str | None, comment: str, session: Session) -> None:
    made = session.call(
        "POST",
        f"/api/registry/v1/promotion-requests/{_part(request_id)}/{verdict}",
        {"approver": by or getpass.getuser(), "comment": comment},
    )
    session.say(made, f"{made['model']} v{made['version']}: {made['outcome']}")


@app.command
def rollback(model: str, *, by: Person = None, url: Url = None, json: Json = False) -> None:
    """Back to the champion before, in one call."""
    session = Session.of(url, as_json=json)
    made = session.call(
        "POST",
        f"/api/registry/v1/models/{_part(model)}/rollback",
        {"requested_by": by or getpass.getuser()},
    )
    session.say(made, f"{model}: champion is v{made['version']}, was v{made['previous_version']}")


@app.command
def runs(*, url: Url = None, json: Json = False) -> None:
    """Pipeline runs, the latest first."""
    session = Session.of(url, as_json=json)
    found = session.call("GET", "/api/orchestrator/v1/runs")["runs"]
    columns = ("pipeline_run_id", "pipeline", "model", "state", "error")
    session.show(found, columns)


@app.command
def alerts(model: str, *, url: Url = None, json: Json = False) -> None:
    """Alerts of a model, open ones first."""
    session = Session.of(url, as_json=json)
    state = session.call("GET", f"/api/monitoring/v1/models/{_part(model)}")
    found: list[dict[str, Any]] = [*state["open_alerts"], *state["recent_alerts"]]
    unique = list({alert["alert_id"]: alert for alert in found}.values())
    session.show(unique, ("alert_id", "kind", "severity", "title", "detected_at", "resolved_at"))


@topics.command
def apply(kafka: str) -> None:
    """Create the declared topics that are missing."""
    from headrace.runtime.bus import apply_topics  # noqa: PLC0415 - needs the runtime extra

    created = asyncio.run(apply_topics(kafka))
    print(f"created {len(created)} topics")  # noqa: T201


@topics.command
def check(kafka: str) -> None:
    """Say where a broker differs from the declared topics; exit code 1 if it does."""
    from headrace.runtime.bus import check_topics  # noqa: PLC0415 - needs the runtime extra

    faults = asyncio.run(check_topics(kafka))
    for fault in faults:
        print(fault)  # noqa: T201
    raise SystemExit(1 if faults else 0)


def _part(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")
