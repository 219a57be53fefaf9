"""What the records of a W&B run say of it, its points apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headrace.cli.imports.names import run_id_of, unique_keys
from headrace.cli.imports.sources import Run
from headrace.cli.imports.wandb_log import records
from headrace.cli.imports.wandb_values import name_of, texts
from headrace.rpc.imports.v1.wandb_run_pb2 import (
    Config,
    History,
    Item,
    Record,
    Summary,
    Timestamp,
)
from headrace.rpc.imports.v1.wandb_run_pb2 import Run as RunRecord

_DESCRIBED: Final = ("entity", "run_group", "job_type", "sweep_id", "host")
_FINISHED, _FAILED, _CUT_OFF = "FINISHED", "FAILED", "KILLED"


@dataclass(slots=True)
class Reading:
    """What the records of a run say of it, the later over the earlier."""

    record: RunRecord = field(default_factory=RunRecord)
    config: dict[str, str] = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    latest: int = 0

    @classmethod
    def of(cls, files: Sequence[Path]) -> Reading:
        """Read all files of a run."""
        reading = cls()
        for record in run_records(files):
            reading._take(record)
        return reading

    def run(self, identity: str, files: Sequence[Path]) -> Run:
        """The run as a whole."""
        started = milliseconds_of(self.record.start_time)
        params, summary = unique_keys(self.config), unique_keys(self.summary)
        status = _CUT_OFF if self.exit_code is None else _FAILED if self.exit_code else _FINISHED
        return Run(
            run_id=run_id_of(identity),
            name=self.record.display_name,
            user_id=self.record.entity,
            status=status,
            start_time=started,
            end_time=max(self.latest, started),
            params={params[name]: value for name, value in self.config.items()},
            tags={
                "wandb.run_id": identity,
                **self._described(),
                **{f"wandb.summary.{summary[name]}": text for name, text in self.summary.items()},
            },
            state=" ".join(str(file.stat().st_size) for file in files),
        )

    def _described(self) -> dict[str, str]:
        tags = {f"wandb.{name}": str(getattr(self.record, name)) for name in _DESCRIBED}
        tags["wandb.tags"] = ", ".join(self.record.tags)
        tags["mlflow.note.content"] = self.record.notes
        return {key: value for key, value in tags.items() if value}

    def _take(self, record: Record) -> None:
        match record.WhichOneof("record_type"):
            case "run":
                self._take_run(record.run)
            case "config":
                _update(self.config, record.config)
            case "summary":
                _update(self.summary, record.summary)
            case "history":
                self.latest = max(self.latest, _moment(record.history))
            case "stats":
                self.latest = max(self.latest, milliseconds_of(record.stats.timestamp))
            case "exit":
                self.exit_code = record.exit.exit_code
            case _:
                pass

    def _take_run(self, record: RunRecord) -> None:
        """A run that is resumed keeps its first start, and is not over."""
        first = self.record.start_time if self.record.HasField("start_time") else None
        started = record.start_time if first is None else first
        merged = RunRecord(start_time=started)
        self.record.ClearField("tags")
        self.record.MergeFrom(record)
        self.record.start_time.CopyFrom(merged.start_time)
        _update(self.config, record.config)
        _update(self.summary, record.summary)
        self.exit_code = None


def run_records(files: Sequence[Path]) -> Iterator[Record]:
    """The records of all files of a run. Raises Unreadable, DecodeError, OSError."""
    for file in files:
        for data in records(file):
            yield Record.FromString(data)


def _update(state: dict[str, str], change: Config | Summary) -> None:
    for item in change.remove:
        name = name_of(item)
        for key in [one for one in state if one == name or one.startswith(f"{name}.")]:
            del state[key]
    state.update(texts(item for item in change.update if not _is_own(item)))


def _is_own(item: Item) -> bool:
    """Whether an item is W&B's bookkeeping."""
    return (item.nested_key[0] if item.nested_key else item.key).startswith("_")


def _moment(history: History) -> int:
    for item in history.item:
        if name_of(item) == "_timestamp":
            return round(float(item.value_json) * 1000)
    return 0


def milliseconds_of(moment: Timestamp) -> int:
    """A time in milliseconds since the epoch."""
    return moment.seconds * 1000 + moment.nanos // 1_000_000
