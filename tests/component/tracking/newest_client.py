"""What a data scientist does with artifacts, run by a client of the newest MLflow.

Arguments: the tracking URI and a scratch directory. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient


def main(uri: str, scratch: Path) -> dict[str, object]:
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    folder = scratch / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "deep" / "empty.bin").write_bytes(b"")
    (scratch / "big.bin").write_bytes(bytes(range(256)) * 100_000)
    with mlflow.start_run(experiment_id="0") as run:
        mlflow.log_artifacts(str(folder), "out")
        mlflow.log_artifact(str(scratch / "big.bin"))
        mlflow.log_dict({"x": 1}, "one.json")
        mlflow.log_text("hello", "say ü.txt")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "square.png")
        mlflow.log_table(pd.DataFrame({"a": [1, 2]}), "table.json")
    run_id = run.info.run_id
    down = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(scratch / "down")))
    return {
        "version": mlflow.__version__,
        "root": run.info.artifact_uri.removeprefix("mlflow-artifacts:/"),
        "listed": sorted(one.path for one in client.list_artifacts(run_id)),
        "inner": sorted(one.path for one in client.list_artifacts(run_id, "out")),
        "files": sorted(str(one.relative_to(down)) for one in down.rglob("*") if one.is_file()),
        "same": (down / "big.bin").read_bytes() == (scratch / "big.bin").read_bytes(),
        "text": mlflow.artifacts.load_text(f"runs:/{run_id}/say ü.txt"),
        "table": client.load_table("0", "table.json", run_ids=[run_id])["a"].tolist(),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
