# ruff: noqa: INP001 - a script beside its sources, not a package
"""Generate the protobuf modules under shared/headrace/rpc from the files here: `make proto`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
RPC: Final = HERE.parent / "shared" / "headrace" / "rpc"
SOURCES: Final = (
    (HERE / "headrace", "serving/v1/prediction_log.proto"),
    (HERE / "headrace", "serving/v1/request_head.proto"),
    (HERE / "headrace", "imports/v1/wandb_run.proto"),
    *(
        (HERE, source)
        for source in (
            "inference/model_config.proto",
            "inference/model_repository.proto",
            "inference/open_inference.proto",
            "reflection/reflection.proto",
        )
    ),
)
# Clients of the Open Inference Protocol (tritonclient, kserve) and of reflection register the same
# message names in the process-wide descriptor pool, which refuses a second definition: ours live
# in a pool of their own.
OWN_POOL: Final = ("inference/", "reflection/")
_PRIVATE: Final = {
    "from google.protobuf import descriptor_pool as": "from headrace.rpc import private_pool as",
    "from inference import": "from headrace.rpc.inference import",
}


def generate(target: Path) -> list[Path]:
    """Write all modules and their type stubs below `target`; returns the files written."""
    written = []
    for root, source in SOURCES:
        _compile(root, source, target)
        module = target / source.replace(".proto", "_pb2.py")
        stub = module.with_suffix(".pyi")
        if source.startswith(OWN_POOL):
            _make_private(module)
            _make_private(stub)
        written += [module, stub]
    return written


def _make_private(path: Path) -> None:
    text = path.read_text()
    for shared, private in _PRIVATE.items():
        text = text.replace(shared, private)
    path.write_text(text)


def _compile(root: Path, source: str, target: Path) -> None:
    scripts = Path(sys.executable).parent  # protoc-gen-mypy lies beside the interpreter
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{root}",
            f"--python_out={target}",
            f"--mypy_out=quiet:{target}",
            source,
        ],
        check=True,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=RPC)
    generate(parser.parse_args().target)


if __name__ == "__main__":
    main()
