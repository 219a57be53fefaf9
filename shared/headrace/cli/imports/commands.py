"""The subcommands of `headrace import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from headrace.cli.session import Session

app = App(
    name="import",
    help="""Move experiments here from other tools, with their ids.

    May be stopped and started again at any time: what is here already is passed over.
    Exit codes: 0 all is here, 1 something is not (the report says what), 2 wrong usage,
    3 the source or the platform cannot be reached.
    """,
)

Url = Annotated[str | None, Parameter(help="Front door; else HEADRACE_URL, else the local stack")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print the report as JSON")]
Dry = Annotated[bool, Parameter(negative=(), help="Read everything, change nothing")]
Again = Annotated[bool, Parameter(negative=(), help="Send also what is here as the source has it")]
NoFiles = Annotated[bool, Parameter(negative=(), help="Leave artifacts out")]
Jobs = Annotated[int, Parameter(help="Runs, and files, that are sent at the same time")]
Names = Annotated[
    list[str] | None, Parameter(name="--experiment", negative=(), help="Only this one; repeatable")
]


@app.command
def mlflow(
    source: Annotated[str, Parameter(help="http(s)://server, mlflow.db, or an mlruns folder")],
    *,
    artifacts: Annotated[
        Path | None, Parameter(help="The server's artifact folder, for mlflow.db and mlruns")
    ] = None,
    experiment: Names = None,
    no_files: NoFiles = False,
    again: Again = False,
    dry_run: Dry = False,
    jobs: Jobs = 4,
    url: Url = None,
    json: Json = False,
) -> None:
    """From an MLflow server, its SQLite database (also while in use), or an mlruns folder."""
    from headrace.cli.imports import work  # noqa: PLC0415 - loads numpy

    options = work.options_of(experiment, no_files, again, dry_run, jobs)
    session = Session.of(url, as_json=json)
    work.perform(lambda: work.open_mlflow(source, artifacts, options=options), options, session)


@app.command
def wandb(
    *paths: Annotated[Path, Parameter(help="Folders (wandb/, a run's) or .wandb files")],
    experiment: Names = None,
    no_files: NoFiles = False,
    again: Again = False,
    dry_run: Dry = False,
    jobs: Jobs = 4,
    url: Url = None,
    json: Json = False,
) -> None:
    """From runs that W&B logged offline; projects become experiments."""
    from headrace.cli.imports import work  # noqa: PLC0415 - loads numpy

    options = work.options_of(experiment, no_files, again, dry_run, jobs)
    session = Session.of(url, as_json=json)
    work.perform(lambda: work.open_wandb(paths or (Path("wandb"),)), options, session)


@app.command
def neptune(
    data: Annotated[Path, Parameter(help="The exporter's folder of parquet files")],
    *,
    files: Annotated[
        Path | None, Parameter(help="Its folder of files; else the one named files beside data")
    ] = None,
    step_multiplier: Annotated[int, Parameter(help="What decimal steps are multiplied by")] = 1,
    experiment: Names = None,
    no_files: NoFiles = False,
    again: Again = False,
    dry_run: Dry = False,
    jobs: Jobs = 4,
    url: Url = None,
    json: Json = False,
) -> None:
    """From what neptune-exporter wrote (parquet); projects become experiments."""
    from headrace.cli.imports import work  # noqa: PLC0415 - loads numpy

    options = work.options_of(experiment, no_files, again, dry_run, jobs)
    session = Session.of(url, as_json=json)
    work.perform(
        lambda: work.open_neptune(data, files, step_multiplier=step_multiplier), options, session
    )
