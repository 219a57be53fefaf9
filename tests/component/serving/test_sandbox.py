"""Models that run code are kept in: whatever they do, it is theirs alone, and it is named."""

from __future__ import annotations

import ast
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from headrace.confinement.landlock import landlock_version
from headrace.errors import Refused
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.worker.failure import Code, Failure
from services.serving.worker.model import Model, load
from services.serving.worker.residency import Residency
from services.serving.worker.sandbox.runtime import SandboxedRuntime, open_sandboxed
from tests.harness import pickled_models

pytestmark = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")
LIMITS = Limits(memory=2 * 1024**3, load_seconds=20, run_seconds=2, idle_cpu_seconds=1)
CHECKOUT = Path(__file__).parents[3]
_PATIENCE = 30.0


def sandboxed(folder: Path, content: bytes, limits: Limits = LIMITS) -> SandboxedRuntime:
    folder.mkdir(exist_ok=True)
    path = folder / "model.pkl"
    path.write_bytes(content)
    return open_sandboxed(path, Format.PICKLE, name="m", version=1, limits=limits)


@contextmanager
def opened(folder: Path, content: bytes, limits: Limits = LIMITS) -> Iterator[SandboxedRuntime]:
    runtime = sandboxed(folder, content, limits)
    try:
        yield runtime
    finally:
        runtime.close()


def asked(runtime: SandboxedRuntime | Model, first: float = 0.0) -> list[float]:
    (answer,) = runtime.run({"input-0": np.array([[first, 2.0]])})
    return [float(value) for value in answer]


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {_PATIENCE} s: {what}"
        threading.Event().wait(0.02)


def answers(runtime: SandboxedRuntime) -> bool:
    try:
        return asked(runtime) == [2.0]
    except Failure as failure:
        if failure.code is Code.UNAVAILABLE:
            return False
        raise


def why_not(runtime: SandboxedRuntime) -> str:
    try:
        asked(runtime)
    except Failure as failure:
        return failure.message
    return ""


def kill(runtime: SandboxedRuntime) -> None:
    assert runtime.pid is not None
    os.kill(runtime.pid, signal.SIGKILL)


def open_files() -> int:
    return psutil.Process().num_fds()


@contextmanager
def no_files_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


def test_a_model_in_a_sandbox_answers(tmp_path: Path) -> None:
    with opened(tmp_path, pickled_models.predicting("pass")) as runtime:
        assert [(each.name, each.datatype, each.shape) for each in runtime.outputs] == [
            ("predict", "FP64", (-1,))
        ]
        assert asked(runtime, 5.0) == [7.0]
        assert "landlock" in runtime.confined
        assert "seccomp" in runtime.confined


def test_large_tensors_cross_whole(tmp_path: Path) -> None:
    rows = np.arange(2_000_000, dtype=np.float64).reshape(-1, 2)
    with opened(tmp_path, pickled_models.predicting("pass")) as runtime:
        (answer,) = runtime.run({"input-0": rows})
    assert np.array_equal(answer, rows.sum(axis=1))


FORBIDDEN = (
    "socket.socket()",
    "socket.create_connection(('127.0.0.1', 9))",
    "open('/etc/passwd').read()",
    "open('/etc/shadow').read()",
    "open(f'/proc/{os.getppid()}/environ').read()",
    "os.listdir('/root')",
    "os.listdir('/tmp')",
    "open('/tmp/headrace-escape', 'w')",
    "open('/dev/shm/headrace-escape', 'w')",
    "open(__import__('headrace').__file__, 'a')",
    "os.chmod(sys.executable, 0o777)",
    "os.fork()",
    "subprocess.run(['/bin/true'])",
    "os.execv('/bin/true', ['true'])",
    "os.kill(os.getppid(), 0)",
    "os.write(os.memfd_create('hoard'), b'x')",
    "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
)
TRY_ALL = f"""
found = {{}}
for deed in {FORBIDDEN!r}:
    try:
        eval(deed)
        found[deed] = "allowed"
    except Exception as error:
        found[deed] = type(error).__name__
raise RuntimeError(repr(found))
"""


def outcomes(message: str) -> set[str]:
    found = ast.literal_eval(message.partition("RuntimeError: ")[2])
    assert set(found) == set(FORBIDDEN)
    return {deed for deed, outcome in found.items() if outcome == "allowed"}


def test_nothing_forbidden_works_while_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"model\.pkl cannot be loaded: RuntimeError") as caught:
        sandboxed(tmp_path, pickled_models.predicting("pass", loading=TRY_ALL))
    assert outcomes(str(caught.value)) == set()


def test_nothing_forbidden_works_while_it_answers_and_the_model_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path, pickled_models.predicting(TRY_ALL)) as runtime:
        with pytest.raises(Failure, match="sandboxed model 'm' version 1 failed: ") as caught:
            asked(runtime, 1.0)
        assert caught.value.code is Code.INTERNAL
        assert outcomes(caught.value.message) == set()
        assert asked(runtime) == [2.0]


def test_it_sees_nothing_of_the_workers_environment_nor_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SERVING_S3_SECRET_KEY", "very-secret")
    look = "raise RuntimeError(repr((dict(os.environ), sorted(os.listdir('/proc/self/fd'))[:9])))"
    with (
        (tmp_path / "held").open("w"),
        opened(tmp_path, pickled_models.predicting(look)) as runtime,
        pytest.raises(Failure) as caught,
    ):
        asked(runtime, 1.0)
    seen = caught.value.message
    assert "HEADRACE" not in seen
    assert "very-secret" not in seen
    (_, descriptors) = ast.literal_eval(seen.partition("RuntimeError: ")[2])
    assert len(descriptors) == 5  # standard streams, the channel, and the listing itself


@pytest.mark.parametrize(
    ("loading", "reason"),
    [
        ("while True: pass", r"did not load within 3 s in its sandbox"),
        ("os._exit(3)", r"it ended with status 3"),
        ("ctypes.string_at(0)", r"it died of SIGSEGV"),
        ("os.abort()", r"it died of SIGABRT"),
        ("hoard = bytearray(10 * 1024**3)", r"does not load within 2048 MiB"),
        ("raise SystemExit(0)", r"cannot be loaded: SystemExit"),
        ("print('last cry', flush=True); os._exit(4)", r"status 4 \(last output: last cry\)"),
        (
            "os.write(int(sys.argv[1]), b'garbage' * 99); time.sleep(60)",
            r"it said nonsense and was killed",
        ),
    ],
    ids=["hang", "exit", "segfault", "abort", "memory", "system exit", "last words", "channel"],
)
def test_a_model_that_fails_to_load_is_refused_by_what_it_did(
    tmp_path: Path, loading: str, reason: str
) -> None:
    seconds = 3 if loading == "while True: pass" else 20
    limits = Limits(memory=LIMITS.memory, load_seconds=seconds)
    with pytest.raises(Refused, match=reason):
        sandboxed(tmp_path, pickled_models.predicting("pass", loading=loading), limits)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("while True: pass", "did not answer within 2 s and was killed"),
        ("os._exit(3)", "it ended with status 3"),
        ("ctypes.string_at(0)", "it died of SIGSEGV"),
        ("os.write(int(sys.argv[1]), b'garbage' * 99)", "it said nonsense and was killed"),
    ],
    ids=["hang", "exit", "segfault", "channel"],
)
def test_a_process_that_is_lost_is_named_and_started_again(
    tmp_path: Path, deed: str, reason: str
) -> None:
    with opened(tmp_path, pickled_models.predicting(deed)) as runtime:
        before = runtime.pid
        assert before is not None
        with pytest.raises(Failure, match=reason) as caught:
            asked(runtime, 1.0)
        assert caught.value.code is Code.UNAVAILABLE
        eventually(lambda: answers(runtime), "an answer of the next process")
        assert runtime.pid != before
        assert not alive(before)


def test_a_process_that_cannot_be_started_now_is_started_later(tmp_path: Path) -> None:
    with opened(tmp_path, pickled_models.predicting("")) as runtime:
        assert asked(runtime) == [2.0]
        before = open_files()
        with no_files_left():
            kill(runtime)
            eventually(lambda: "Too many open files" in why_not(runtime), "it cannot be started")
        eventually(lambda: answers(runtime), "it answers again")
        # Other tests' files may be closed meanwhile; what leaks only adds.
        assert open_files() <= before


def test_a_call_may_take_more_time_than_the_process_may_unasked(tmp_path: Path) -> None:
    busy = "exec('end = time.process_time() + 3\\nwhile time.process_time() < end: pass')"
    limits = Limits(memory=LIMITS.memory, load_seconds=20, run_seconds=20, idle_cpu_seconds=1)
    with opened(tmp_path, pickled_models.predicting(busy), limits) as runtime:
        before = runtime.pid
        assert asked(runtime, 1.0) == [3.0]
        assert runtime.pid == before


def test_too_much_memory_fails_the_request_alone(tmp_path: Path) -> None:
    with opened(tmp_path, pickled_models.predicting("bytearray(10 * 1024**3)")) as runtime:
        with pytest.raises(Failure, match="MemoryError"):
            asked(runtime, 1.0)
        assert asked(runtime) == [2.0]


def test_what_a_model_prints_goes_nowhere(tmp_path: Path) -> None:
    with opened(
        tmp_path, pickled_models.predicting("print('x' * 10_000_000)", loading="print('y' * 10**6)")
    ) as runtime:
        assert asked(runtime, 1.0) == [3.0]


def test_a_thread_that_works_unasked_is_ended(tmp_path: Path) -> None:
    spin = """
    import threading
    def spin():
        while True: pass
    threading.Thread(target=spin, daemon=True).start()
    """
    with opened(tmp_path, pickled_models.predicting(spin)) as runtime:
        before = runtime.pid
        assert asked(runtime, 1.0) == [3.0]
        eventually(lambda: runtime.pid not in (before, None), "another process")
        assert answers(runtime)


def test_others_answer_while_one_hangs(tmp_path: Path) -> None:
    limits = Limits(memory=LIMITS.memory, run_seconds=20)
    hanging = pickled_models.predicting("while True: pass")
    with (
        opened(tmp_path / "a", hanging, limits) as bad,
        opened(tmp_path / "b", pickled_models.predicting("pass")) as good,
    ):
        failures: list[Exception] = []

        def ask_bad() -> None:
            try:
                asked(bad, 1.0)
            except Failure as failure:
                failures.append(failure)

        asker = threading.Thread(target=ask_bad)
        asker.start()
        began = time.monotonic()
        for _ in range(20):
            assert asked(good, 1.0) == [3.0]
        assert time.monotonic() - began < 10
        assert asker.is_alive()
        bad_pid = bad.pid
        assert bad_pid is not None
        os.kill(bad_pid, signal.SIGKILL)
        asker.join(_PATIENCE)
        assert "it died of SIGKILL" in str(failures[0])


def test_a_model_that_nobody_holds_any_more_ends_its_process(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickled_models.predicting("pass"))
    before = children()
    model = load(path, name="m", version=1, kind=Format.PICKLE, limits=LIMITS)
    (pid,) = children() - before
    assert asked(model) == [2.0]
    del model
    gc.collect()
    eventually(lambda: not alive(pid), "the end of the process")


def test_a_model_that_makes_room_ends_its_process_and_the_next_use_starts_another(
    tmp_path: Path,
) -> None:
    residency = Residency(15)
    before = children()
    models = []
    for name in ("a", "b"):
        path = tmp_path / name / "model.pkl"
        path.parent.mkdir()
        path.write_bytes(pickled_models.predicting("pass"))
        models.append(
            load(
                path,
                name=name,
                version=1,
                kind=Format.PICKLE,
                limits=LIMITS,
                residency=residency,
                memory=10,
            )
        )
    eventually(lambda: len(children() - before) == 1, "the end of the first process")
    first, second = models
    first.bring()
    assert asked(first) == [2.0]
    first.release()
    assert not second.hold()
    eventually(lambda: len(children() - before) == 1, "the end of the second process")


def test_a_killed_worker_leaves_no_process_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickled_models.predicting("while True: pass"))
    program = f"""
import sys, threading
from pathlib import Path
import numpy as np
from services.serving.domain.formats import Format
from services.serving.domain.limits import Limits
from services.serving.worker.sandbox.runtime import open_sandboxed
runtime = open_sandboxed(Path({str(path)!r}), Format.PICKLE, name="m", version=1, limits=Limits())
threading.Thread(target=runtime.run, args=({{"input-0": np.ones((1, 2))}},), daemon=True).start()
print(runtime.pid, flush=True)
threading.Event().wait()
"""
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'shared'}"}
    worker = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert worker.stdout is not None
    try:
        pid = int(worker.stdout.readline())
        assert alive(pid)
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    eventually(lambda: not alive(pid), "the end of the sandbox")
