"""Learners' plans, examples and documents for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.learning import (
    Document,
    Examples,
    Lineage,
    Offsets,
    Plan,
    State,
    Tensor,
    encode_document,
    encode_examples,
)
from headrace.learning.document import EXAMPLES_FILE, MODEL_FILE, START_FILE
from headrace.learning.estimator import Estimator

FEATURES = ("x[0]", "x[1]", "age")
INPUTS = (
    Tensor(name="x", datatype="FP32", shape=(-1, 2)),
    Tensor(name="age", datatype="FP64", shape=(-1, 1)),
    Tensor(name="note", datatype="BYTES", shape=(-1, 1)),
)

plans = st.builds(
    Plan,
    kind=st.sampled_from(["logistic_regression", "linear_regression"]),
    features=st.permutations(FEATURES).map(tuple),
    scale=st.booleans(),
    optimizer=st.sampled_from(["sgd", "adagrad", "adam"]),
    learning_rate=st.sampled_from([0.001, 0.01, 0.1]),
    l2=st.sampled_from([0.0, 0.01]),
)
rows = st.tuples(
    *(st.floats(-100, 100, width=32, allow_subnormal=False) for _ in FEATURES),
)


def labels_for(plan: Plan, numbers: Sequence[float]) -> list[float]:
    """Labels that the plan can learn, made of any numbers."""
    return [float(each > 0) if plan.classifies else each for each in numbers]


def learned(
    plan: Plan, examples: Sequence[tuple[Sequence[float], float]], start: State | None = None
) -> State:
    """What an estimator knows after these."""
    estimator = Estimator(plan, start or State.fresh(plan))
    for row, label in examples:
        estimator.learn(row, label)
    return estimator.state


def document(plan: Plan, state: State, *, start: State | None = None) -> Document:
    """A snapshot of this state."""
    begun = start or State.fresh(plan)
    return Document(
        plan=plan,
        inputs=INPUTS,
        state=state,
        digest=state.digest(plan),
        lineage=Lineage(
            learner="l",
            generation=1,
            number=1,
            model="m",
            label_topic="labels",
            labels=(Offsets(partition=0, after=None, through=state.learned),),
            prediction_topic="log",
            predictions=(),
            learned_before=begun.learned,
            start_digest=begun.digest(plan),
            parent=None,
            river="0",
        ),
    )


def feed(plan: Plan, matrix: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    """Rows whose columns are in the order of the plan, as inputs."""
    column = {name: matrix[:, place] for place, name in enumerate(plan.features)}
    wide = np.stack([column["x[0]"], column["x[1]"]], axis=1).astype(np.float32)
    return {
        "x": wide,
        "age": column["age"].reshape(-1, 1),
        "note": np.full((len(matrix), 1), "", dtype=object),
    }


SNAPSHOT_PLAN = Plan(kind="logistic_regression", features=FEATURES)
SIX = [((float(n), n % 3 - 1.0, 2.0 * n), float(n % 2)) for n in range(6)]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The files of a version, and what they say."""

    folder: Path
    examples: Examples
    digest: str


def six_examples() -> Examples:
    """SIX, whose labels lie at the offsets 10 to 15 of partition 0."""
    return Examples(
        features=np.array([row for row, _ in SIX]),
        labels=np.array([label for _, label in SIX]),
        prediction_ids=np.array([f"r{n}" for n in range(6)]),
        label_partitions=np.zeros(6, np.int64),
        label_offsets=np.arange(10, 16),
        log_partitions=np.zeros(6, np.int64),
        log_offsets=np.zeros(6, np.int64),
    )


def snapshot_folder(folder: Path) -> Snapshot:
    """A snapshot that learned SIX."""
    made = document(SNAPSHOT_PLAN, learned(SNAPSHOT_PLAN, SIX))
    spans = (Offsets(partition=0, after=9, through=15),)
    lineage = made.lineage.model_copy(update={"labels": spans})
    examples = six_examples()
    files = {
        MODEL_FILE: encode_document(made.model_copy(update={"lineage": lineage})),
        START_FILE: State.fresh(SNAPSHOT_PLAN).encode(),
        EXAMPLES_FILE: encode_examples(examples),
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return Snapshot(folder=folder, examples=examples, digest=made.digest)
