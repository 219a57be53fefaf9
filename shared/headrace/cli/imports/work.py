"""An import from the command line: open the source, move it, say what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NoReturn

from headrace.cli.imports.extra import Missing
from headrace.cli.imports.mlflow_database import MlflowDatabase
from headrace.cli.imports.mlflow_files import MlflowFiles
from headrace.cli.imports.mlflow_server import MlflowServer
from headrace.cli.imports.neptune_runs import NeptuneRuns
from headrace.cli.imports.registered import Registry, move_registry
from headrace.cli.imports.report import Report, Show
from headrace.cli.imports.sources import Source, Unreachable, Unreadable
from headrace.cli.imports.target import Target
from headrace.cli.imports.transfer import Options, Transfer
from headrace.cli.imports.wandb_runs import WandbRuns
from headrace.cli.session import REFUSED, UNREACHABLE, Session, fail

USAGE: Final = 2
INTERRUPTED: Final = 130
_SQLITE: Final = "sqlite:///"


class Unusable(Exception):
    """The command names a source that there is not, or leaves out what is needed."""


def options_of(
    experiments: Iterable[str] | None, no_files: bool, again: bool, dry_run: bool, jobs: int
) -> Options:
    """How the import goes; with chosen experiments the registry stays where it is."""
    return Options(
        experiments=frozenset(experiments or ()),
        files=not no_files,
        again=again,
        dry_run=dry_run,
        jobs=max(jobs, 1),
        registry=not experiments,
    )


def open_mlflow(source: str, artifacts: Path | None, *, options: Options) -> Source:
    """A server by its URL, a database by its file, an mlruns folder. Raises Unusable."""
    if source.startswith(("http://", "https://")):
        return MlflowServer(source, connections=3 * options.jobs)
    path = Path(source.removeprefix(_SQLITE))
    if path.is_dir():
        return MlflowFiles(path, artifacts=artifacts)
    if not path.is_file():
        raise Unusable(f"{source}: no such file or folder")
    database = MlflowDatabase(path, artifacts=artifacts)
    if options.files and database.lacks_artifacts:
        raise Unusable(
            "a server kept the files of these runs: name its artifact folder with --artifacts,"
            " or leave files out with --no-files"
        )
    return database


def open_wandb(paths: Sequence[Path]) -> Source:
    """`.wandb` files, or folders with some in them. Raises Unusable."""
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise Unusable(f"{', '.join(absent)}: no such file or folder")
    return WandbRuns(paths)


def open_neptune(data: Path, files: Path | None, *, step_multiplier: int) -> Source:
    """What neptune-exporter wrote. Raises Unusable."""
    absent = [str(path) for path in (data, files) if path is not None and not path.is_dir()]
    if absent:
        raise Unusable(f"{', '.join(absent)}: no such folder")
    return NeptuneRuns(data, files=files, step_multiplier=step_multiplier)


def perform(opening: Callable[[], Source], options: Options, session: Session) -> NoReturn:
    """Import and end the program with an exit code that says how it went."""
    try:
        with closing(opening()) as source:
            report = _moved(source, options, session)
    except (Unusable, Missing) as error:
        fail(str(error), code=USAGE)
    except Unreachable as error:
        fail(f"{error}; what arrived stays, import again to go on", code=UNREACHABLE)
    except Unreadable as error:
        fail(str(error), code=REFUSED)
    except KeyboardInterrupt:
        fail("interrupted; what arrived stays, import again to go on", code=INTERRUPTED)
    session.say(report.document(), report.lines())
    raise SystemExit(REFUSED if report.failures else 0)


def _moved(source: Source, options: Options, session: Session) -> Report:
    report = Report(source=source.label, dry_run=options.dry_run)
    with (
        closing(Target(session.url, connections=3 * options.jobs)) as target,
        Show(report, quiet=session.as_json) as show,
    ):
        target.greet()
        Transfer(source, target, options, report, show).run()
        if options.registry and isinstance(source, Registry):
            move_registry(source, target, report, dry_run=options.dry_run)
    return report
