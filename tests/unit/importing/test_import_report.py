from __future__ import annotations

from headrace.cli.imports.report import Report


def test_a_report_counts_and_names_what_failed() -> None:
    report = Report(source="mlruns:mlruns")
    report.count("runs", 2)
    report.count("points", 30)
    report.fail("run", "r3", "flights", "metric m: line 2 is 'five'")
    first, failure = report.lines().splitlines()
    assert first.startswith("imported 2 runs and 0 models in 0 experiments, 30 points")
    assert first.endswith("0 were here already, 1 failed")
    assert failure == "  run r3 of 'flights': metric m: line 2 is 'five'"


def test_programs_read_the_same_report() -> None:
    report = Report(source="wandb", dry_run=True)
    report.count("unchanged")
    report.fail("alias", "net best", "", "refused")
    found = report.document()
    assert (found["source"], found["dry_run"], found["unchanged"]) == ("wandb", True, 1)
    assert found["failures"] == [
        {"kind": "alias", "id": "net best", "experiment": "", "reason": "refused"}
    ]
    assert report.lines().startswith("would import 0 runs")
