"""Running a pipeline in the author's own process, under a debugger if wanted.

Inputs and outputs go through the same encoding as in a worker, retries follow the same rules,
seeds are the same for the same run seed. What a process cannot do to itself is left out: time
limits, the sandbox, memory limits.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec
from urllib.parse import unquote, urlsplit

from headrace.errors import NotFound, Refused
from headrace.ids import new_id
from headrace.pipelines.artifacts import Saved, load
from headrace.pipelines.authoring import Pipeline, Step
from headrace.pipelines.context import File, RunFacts, StepContext
from headrace.pipelines.execution import Input, execute, failure_of
from headrace.pipelines.plan import Plan, Source, StepPlan

P = ParamSpec("P")
Fetch = Callable[[File, Path], None]


@dataclass(kw_only=True)
class LocalRun:
    """Surroundings of a local run.

    `directory` keeps the artifacts (`<run id>/<step>/<attempt>/`), `front_url` is the platform
    that steps talk to, `fetch` writes a blob to a path (default: only file:// URIs are known).
    """

    directory: Path
    front_url: str = ""
    seed: int = 0
    trigger: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    fetch: Fetch | None = None
    run_id: str = field(default_factory=new_id)

    def run(self, pipeline: Pipeline[P], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Run all steps; returns their decoded outputs as `step.output` -> value.

        Raises InvalidInput for bad parameters, PipelineError for a bad graph, and what a step
        raised when its retries were spent.
        """
        plan = pipeline.plan()
        names = [parameter.name for parameter in plan.parameters]
        given = dict(zip(names, args, strict=False)) | kwargs
        arguments = plan.arguments(json.loads(json.dumps(given)))
        facts = self._facts(plan, arguments)
        outputs: dict[tuple[str, str], Saved] = {}
        steps = pipeline.steps()
        for node in plan.steps:
            inputs = {
                name: _input(source, arguments, outputs) for name, source in node.inputs.items()
            }
            for name, saved in self._attempts(facts, node, steps[node.name], inputs).items():
                outputs[node.name, name] = saved
        return {
            f"{step}.{name}": _decoded(steps[step], name, saved)
            for (step, name), saved in outputs.items()
        }

    def _facts(self, plan: Plan, arguments: Mapping[str, Any]) -> RunFacts:
        return RunFacts(
            run_id=self.run_id,
            pipeline=plan.name,
            plan_digest=plan.digest,
            parameters=arguments,
            seed=self.seed,
            model=self.model,
            trigger=self.trigger,
            steps=tuple(step.name for step in plan.steps),
        )

    def _attempts(
        self, facts: RunFacts, node: StepPlan, step: Step[..., Any], inputs: Mapping[str, Input]
    ) -> dict[str, Saved]:
        attempt = 1
        while True:
            directory = self.directory / self.run_id / node.name / str(attempt)
            (directory / "scratch").mkdir(parents=True)
            context = StepContext(
                run=facts,
                step=node.name,
                attempt=attempt,
                scratch=directory / "scratch",
                host=_LocalHost(directory=self.directory / "blobs", fetcher=self.fetch),
                front_url=self.front_url,
            )
            try:
                return execute(step, inputs, context, directory)
            except Exception as error:
                if not failure_of(step, error).retryable or attempt >= node.retry.attempts:
                    raise
            time.sleep(
                min(node.retry.limit, node.retry.backoff * node.retry.factor ** (attempt - 1))
            )
            attempt += 1


@dataclass(frozen=True, kw_only=True)
class _LocalHost:
    directory: Path
    fetcher: Fetch | None

    def fetch(self, files: Sequence[File]) -> list[Path]:
        return [self._fetch_one(file) for file in files]

    def log(self, event: str, fields: Mapping[str, Any]) -> None:
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        print(event, text, file=sys.stderr, flush=True)  # noqa: T201  it is for the author's terminal

    def _fetch_one(self, file: File) -> Path:
        path = self.directory / file.digest.removeprefix("sha256:")
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            (self.fetcher or _copy)(file, partial)
            came = f"sha256:{hashlib.sha256(partial.read_bytes()).hexdigest()}"
            if came != file.digest:
                message = f"{file.uri}: expected digest {file.digest}, the content has {came}"
                raise Refused(message)
            partial.rename(path)
        return path


def _copy(file: File, path: Path) -> None:
    parts = urlsplit(file.uri)
    if parts.scheme != "file":
        raise NotFound(f"{file.uri}: a local run reads file:// only; give LocalRun a `fetch`")
    shutil.copyfile(unquote(parts.path), path)


def _input(
    source: Source, arguments: Mapping[str, Any], outputs: Mapping[tuple[str, str], Saved]
) -> Input:
    if source.parameter is not None:
        return Input(kind="json", value=arguments[source.parameter])
    if source.step is not None and source.output is not None:
        saved = outputs[source.step, source.output]
        return Input(kind=saved.kind, value=saved.value, path=saved.path)
    return Input(kind="json", value=source.constant)


def _decoded(step: Step[..., Any], name: str, saved: Saved) -> Any:
    return load(saved.kind, step.signature.outputs[name], value=saved.value, path=saved.path)
