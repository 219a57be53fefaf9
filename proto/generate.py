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
    (HERE / "headrace", "imports/v1/wandb_run.proto"),
    (HERE, "inference/open_inference.proto"),
)
# Clients of the Open Inference Protocol (tritonclient, kserve) register the same message names in
# the process-wide descriptor pool, which refuses a second definition: ours get a pool of their own.
OWN_POOL: Final = frozenset({"inference/open_inference.proto"})
_SHARED: Final = "_descriptor_pool.Default()"
_PRIVATE: Final = "_descriptor_pool.DescriptorPool()"


def generate(target: Path) -> list[Path]:
    """Write all modules and their type stubs below `target`; returns the files written."""
    written = []
    for root, source in SOURCES:
        _compile(root, source, target)
        module = target / source.replace(".proto", "_pb2.py")
        if source in OWN_POOL:
            module.write_text(module.read_text().replace(_SHARED, _PRIVATE))
        written += [module, module.with_suffix(".pyi")]
    return written


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
