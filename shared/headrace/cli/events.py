"""`headrace events`: records in trouble, and what a person does about them."""

from __future__ import annotations

import getpass
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from headrace.cli.session import UNREACHABLE, Session, fail

SERVICES: Final = ("tracking", "registry", "orchestrator", "serving", "monitoring")

app = App(name="events", help="Events in trouble: parked keys and dead letters.")

Url = Annotated[str | None, Parameter(help="Front door; else HEADRACE_URL, else the local stack")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON")]
Person = Annotated[str | None, Parameter(help="Who asks; else the login name")]
Group = Annotated[str, Parameter(help="Consumer group, e.g. orchestrator.events")]
Topic = Annotated[str, Parameter(help="Topic that the record came from")]

Limit = Annotated[int, Parameter(help="At most so many, 1 to 1000")]


@app.command
def parked(*, url: Url = None, json: Json = False) -> None:
    """Keys that wait for a record that keeps failing, of all services.

    If a service does not answer, the others' are shown and the exit code is 3.
    """
    session = Session.of(url, as_json=json)
    found: list[dict[str, Any]] = []
    silent: list[str] = []
    for service in SERVICES:
        try:
            found.extend(session.call("GET", f"/api/{service}/v1/bus/parked")["parked"])
        except SystemExit:
            silent.append(service)
    columns = ("group", "topic", "partition", "offset", "key", "records", "attempts", "error")
    if len(silent) < len(SERVICES):
        session.show(found, columns)
    if silent:
        names = ", ".join(silent)
        fail(f"no answer from {names}: what is parked there is not shown", code=UNREACHABLE)


@app.command
def retry(
    group: Group, topic: Topic, partition: int, offset: int, *, url: Url = None, json: Json = False
) -> None:
    """Try the first record of a parked key now, as `parked` lists it."""
    session = Session.of(url, as_json=json)
    body = {"group": group, "topic": topic, "partition": partition, "offset": offset}
    made = session.call("POST", f"{_bus(group)}/parked/retry", body)
    session.say(made, f"{topic} {partition}@{offset} is tried now")


@app.command
def skip(
    group: Group,
    topic: Topic,
    partition: int,
    offset: int,
    *,
    by: Person = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Dead-letter the first record of a parked key, so that the others go on."""
    session = Session.of(url, as_json=json)
    body = {"group": group, "topic": topic, "partition": partition, "offset": offset}
    body["by"] = by or getpass.getuser()
    made = session.call("POST", f"{_bus(group)}/parked/skip", body)
    session.say(made, f"{topic} {partition}@{offset} is a dead letter now")


@app.command(name="dead-letters")
def dead_letters(
    group: Group, topic: Topic, *, limit: Limit = 200, url: Url = None, json: Json = False
) -> None:
    """What a group could not handle of a topic, and why; the newest first."""
    session = Session.of(url, as_json=json)
    found = session.call(
        "GET", f"{_bus(group)}/dead-letters", group=group, topic=topic, limit=str(limit)
    )
    columns = ("offset", "key", "type", "error_type", "error_message", "attempts")
    session.show(found["dead_letters"], columns)


@app.command
def redrive(
    group: Group,
    topic: Topic,
    *,
    offset: Annotated[int | None, Parameter(help="In the dead-letter topic; else all")] = None,
    by: Person = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Have dead letters handled again; each is put back to work at most once."""
    session = Session.of(url, as_json=json)
    body = {"group": group, "topic": topic, "offset": offset, "by": by or getpass.getuser()}
    made = session.call("POST", f"{_bus(group)}/dead-letters/redrive", body)
    session.say(
        made, f"{made['redriven']} put back to work, {made['passed_over']} cannot be and stay"
    )


def _bus(group: str) -> str:
    return f"/api/{group.split('.', maxsplit=1)[0]}/v1/bus"
