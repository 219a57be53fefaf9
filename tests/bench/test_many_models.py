"""Two hundred models with memory for fifty: how long a call waits for one that is not there."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

import numpy as np
import tritonclient.grpc as triton
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

from services.serving.control.proof import prove
from services.serving.domain.formats import Format
from services.serving.worker.model import load
from services.serving.worker.residency import Residency
from services.serving.worker.residency.heap import share_one_heap
from tests.harness.data_plane import data_plane

MODELS: Final = 200
ROOM: Final = 50
CALLS: Final = 1500
FEATURES: Final = 20
MEBIBYTE: Final = 1024 * 1024


async def test_call_for_a_model_that_is_not_in_memory(tmp_path: Path) -> None:
    share_one_heap()
    path = tmp_path / "model.onnx"
    path.write_bytes(_forest())
    memory = await prove(path, Format.ONNX, measure=True)
    residency = Residency(ROOM * memory)
    plane = data_plane(tmp_path)
    names = [f"forest-{number}" for number in range(MODELS)]
    before = _anonymous_bytes()
    plane.answer_with(
        {
            name: load(path, name=name, version=1, residency=residency, memory=memory)
            for name in names
        }
    )
    misses: list[float] = []
    hits: list[float] = []
    with (
        plane.listening("native") as front,
        triton.InferenceServerClient(f"127.0.0.1:{front.port}") as client,
    ):
        for name in random.Random(1).choices(names, k=CALLS):
            loads, began = residency.counts.loads, time.perf_counter()
            client.infer(name, [_row()])
            took = 1000 * (time.perf_counter() - began)
            (misses if residency.counts.loads > loads else hits).append(took)
    grown = _anonymous_bytes() - before
    print(
        f"\n{path.stat().st_size / 1024:.0f} KiB of ONNX, {MODELS} models, memory for {ROOM}: "
        f"miss p50 {np.percentile(misses, 50):.1f} ms, p99 {np.percentile(misses, 99):.1f} ms; "
        f"hit p50 {np.percentile(hits, 50):.2f} ms; budget {residency.budget / MEBIBYTE:.0f} MiB, "
        f"process grew by {grown / MEBIBYTE:.0f} MiB"
    )
    assert path.stat().st_size <= MEBIBYTE
    assert grown <= 1.25 * residency.budget


def _forest() -> bytes:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(3000, FEATURES)).astype(np.float32)
    labels = rows[:, 0] + generator.normal(size=len(rows)) > 0
    fitted = RandomForestClassifier(40, max_depth=12, random_state=0).fit(rows, labels)
    model = to_onnx(fitted, rows[:1], options={"zipmap": False})
    content: bytes = model.SerializeToString()
    return content


def _row() -> triton.InferInput:
    tensor = triton.InferInput("X", [1, FEATURES], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, FEATURES), np.float32))
    return tensor


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
