from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from examples.flights.report.data import ReportData
from examples.flights.report.page import page
from examples.flights.report.targets import verdicts
from headrace.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where the report lies."""

    page: Path
    figures: Path


def write(data: ReportData, directory: Path) -> Written:
    """Write `report.html` and `report.json` into a directory, made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    written = Written(page=directory / "report.html", figures=directory / "report.json")
    written.figures.write_bytes(TypeAdapter(dict[str, object]).dump_json(_document(data), indent=2))
    written.page.write_text(page(data), encoding="utf-8")
    return written


def read(path: Path) -> ReportData:
    """The data of a `report.json`. Raises InvalidInput naming the field that is wrong."""
    try:
        return TypeAdapter(ReportData).validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"])) or "document"
        raise InvalidInput(f"{path}: {field}: {fault['msg']}", field=field) from error


def _document(data: ReportData) -> dict[str, object]:
    """The data, and beside it what is computed from it, for readers without Python."""
    document: dict[str, object] = TypeAdapter(ReportData).dump_python(data, mode="json")
    document["headline"] = {
        arm.key: {
            "auc_mean_of_weeks": arm.auc,
            "log_loss_mean_of_weeks": arm.log_loss,
            "retrainings": arm.retrainings,
        }
        for arm in data.arms
    }
    document["turn_seconds"] = [turn.seconds for turn in data.turns]
    document["targets"] = TypeAdapter(list[object]).dump_python(list(verdicts(data)), mode="json")
    return document
