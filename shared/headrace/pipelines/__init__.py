"""Authoring training pipelines: `@step`, `@pipeline`, and running them locally.

    @step(retry=Retry(attempts=3), timeout="10m")
    def train(context: StepContext, rows: pa.Table) -> bytes: ...

    @pipeline(preload=["sklearn.ensemble"])
    def retrain(dataset: str, dataset_version: int = 0) -> None:
        rows = snapshot(dataset, dataset_version)
        train(rows)

    retrain.plan()                        # the checked graph; PipelineError names both ends
    retrain.local(dataset="flights")      # the same steps, in this process

Importing this package is cheap; what runs steps in a worker lies in its submodules.
"""

from headrace.pipelines.authoring import Pipeline, Step, pipeline, step
from headrace.pipelines.context import DatasetVersion, StepContext
from headrace.pipelines.options import Resources, Retry
from headrace.pipelines.plan import PipelineError, Plan

__all__ = [
    "DatasetVersion",
    "Pipeline",
    "PipelineError",
    "Plan",
    "Resources",
    "Retry",
    "Step",
    "StepContext",
    "pipeline",
    "step",
]
