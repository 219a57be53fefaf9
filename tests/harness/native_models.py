"""Small real models of every format, made by the libraries that users make them with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import mlflow.lightgbm
import mlflow.onnx
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import skops.io
import xgboost
from mlflow.models import infer_signature
from numpy.typing import NDArray
from safetensors.numpy import save_file
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from headrace.learning import Plan, encode_document
from headrace.learning.document import MODEL_FILE
from headrace.learning.estimator import Estimator
from services.serving.domain.formats import Format
from tests.harness import learned

Answer = dict[str, NDArray[Any]]
FEATURES = 5


@dataclass(frozen=True, kw_only=True)
class Made:
    """A saved model, rows to ask it for, and what its own library gives for them."""

    path: Path
    kind: Format
    inputs: dict[str, NDArray[Any]]
    answers: Answer


def rows(count: int, *, seed: int, missing: bool = True) -> NDArray[np.float64]:
    """Rows of five numbers, one in ten missing."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(count, FEATURES))
    if missing:
        made[random.random(made.shape) < 0.1] = np.nan
    return made


def labels(matrix: NDArray[np.float64], *, classes: int = 2) -> NDArray[np.int64]:
    """Something to learn: which part of the range the first two numbers' sum falls in."""
    total = np.nansum(matrix[:, :2], axis=1)
    edges = np.quantile(total, np.arange(1, classes) / classes)
    return np.asarray(np.digitize(total, edges))


def table(count: int, *, seed: int) -> pd.DataFrame:
    """A text column and two of numbers."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "carrier": random.choice(["UA", "DL", "é"], count),
            "hour": random.integers(0, 24, count),
            "distance": random.normal(1000, 300, count),
        }
    )


def booster(folder: Path, name: str = "model.ubj") -> Made:
    """XGBoost's Booster on missing values: one output, as Booster.predict gives it."""
    train, ask = rows(300, seed=1), rows(64, seed=2)
    data = xgboost.DMatrix(train, label=labels(train))
    made = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 12)
    made.save_model(folder / name)
    answers = {"predict": made.predict(xgboost.DMatrix(ask))}
    return Made(
        path=folder / name,
        kind=Format.XGBOOST,
        inputs={"input-0": ask.astype(np.float32)},
        answers=answers,
    )


def booster_as_json(folder: Path) -> Made:
    """The same as JSON."""
    return booster(folder, "model.json")


def linear_booster(folder: Path) -> Made:
    """XGBoost without trees, which it predicts with in another way."""
    train, ask = rows(300, seed=1, missing=False), rows(16, seed=2, missing=False)
    settings = {"booster": "gblinear", "objective": "reg:squarederror", "nthread": 1}
    made = xgboost.train(settings, xgboost.DMatrix(train, label=train[:, 0]), 5)
    made.save_model(folder / "model.json")
    asked = ask.astype(np.float32)
    answers = {"predict": made.predict(xgboost.DMatrix(asked))}
    return Made(
        path=folder / "model.json",
        kind=Format.XGBOOST,
        inputs={"input-0": asked},
        answers=answers,
    )


def xgboost_classifier(folder: Path, *, classes: int = 2) -> Made:
    """XGBClassifier that stopped early: labels and probabilities of its best iteration."""
    train, ask = rows(300, seed=1), rows(64, seed=2).astype(np.float32)
    made = xgboost.XGBClassifier(n_estimators=60, early_stopping_rounds=3, n_jobs=1)
    held_out = rows(100, seed=3)
    known = [(held_out, labels(held_out, classes=classes))]
    made.fit(train, labels(train, classes=classes), eval_set=known, verbose=False)
    made.save_model(folder / "model.ubj")
    answers = {"predict": made.predict(ask), "predict_proba": made.predict_proba(ask)}
    return Made(
        path=folder / "model.ubj", kind=Format.XGBOOST, inputs={"input-0": ask}, answers=answers
    )


def xgboost_of_three_classes(folder: Path) -> Made:
    """Likewise, with a column of probabilities for each of three classes."""
    return xgboost_classifier(folder, classes=3)


def light(folder: Path, *, objective: str = "binary", classes: int = 1) -> Made:
    """LightGBM's Booster on missing values."""
    train, ask = rows(300, seed=1), rows(64, seed=2)
    settings = {
        "objective": objective,
        "num_class": classes,
        "num_threads": 1,
        "verbosity": -1,
        "min_data_in_leaf": 5,
    }
    data = lightgbm.Dataset(train, label=labels(train, classes=max(2, classes)))
    made = lightgbm.train(settings, data, 12)
    made.save_model(folder / "model.txt")
    return Made(
        path=folder / "model.txt",
        kind=Format.LIGHTGBM,
        inputs={"input-0": ask},
        answers={"predict": np.asarray(made.predict(ask))},
    )


def deadly(folder: Path) -> Path:
    """A LightGBM file whose trees point far outside of themselves: to run it kills the process."""
    path = light(folder).path
    text = path.read_text()
    for child in ("left_child", "right_child"):
        text = re.sub(
            rf"(?<={child}=).*", lambda found: re.sub(r"\S+", "1000000000", found[0]), text
        )
    path.write_text(text)
    return path


def stumbling_safetensors(folder: Path) -> Path:
    """Weights with a config.json that has a list where the name of a layer is to be."""
    path = folder / "model.safetensors"
    save_file({"0.weight": np.ones((1, 2), np.float32)}, path)
    config = {"architecture": "sequential", "layers": [[["linear"], "0"]]}
    (folder / "config.json").write_text(json.dumps(config))
    return path


def light_of_three_classes(folder: Path) -> Made:
    """Likewise, with a column for each of three classes."""
    return light(folder, objective="multiclass", classes=3)


def forest(folder: Path) -> Made:
    """A scikit-learn forest that would like to use every core, in a skops file."""
    train, ask = rows(300, seed=1, missing=False), rows(64, seed=2, missing=False)
    made = RandomForestClassifier(8, n_jobs=-1, random_state=0).fit(train, labels(train))
    skops.io.dump(made, folder / "model.skops")
    answers = {"predict": made.predict(ask), "predict_proba": made.predict_proba(ask)}
    return Made(
        path=folder / "model.skops",
        kind=Format.SKOPS,
        inputs={"input-0": ask},
        answers=answers,
    )


def words(folder: Path) -> Made:
    """A boosted classifier with text for labels, on missing values, in a skops file."""
    train, ask = rows(300, seed=1), rows(64, seed=2)
    named = np.array(["low", "high"])[labels(train)]
    made = HistGradientBoostingClassifier(max_iter=10).fit(train, named)
    skops.io.dump(made, folder / "model.skops")
    answers = {"predict": made.predict(ask), "predict_proba": made.predict_proba(ask)}
    return Made(
        path=folder / "model.skops",
        kind=Format.SKOPS,
        inputs={"input-0": ask},
        answers=answers,
    )


def mlflow_columns(folder: Path) -> Made:
    """MLflow, scikit-learn: a pipeline over named columns of text and numbers."""
    train, ask = table(300, seed=1), table(64, seed=2)
    late = (train.hour > 12) ^ (train.carrier == "UA")
    parts = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
            ("numbers", StandardScaler(), ["hour", "distance"]),
        ]
    )
    made = Pipeline([("parts", parts), ("model", LogisticRegression())]).fit(train, late)
    mlflow.sklearn.save_model(
        made,
        str(folder / "m"),
        signature=infer_signature(train, made.predict(train)),
        serialization_format="skops",
        skops_trusted_types=["numpy.dtype"],
        pip_requirements=[],
    )
    answers = {"output-0": made.predict(ask), "predict_proba": made.predict_proba(ask)}
    return Made(
        path=folder / "m/model.skops", kind=Format.SKOPS, inputs=_by_column(ask), answers=answers
    )


def mlflow_xgboost(folder: Path) -> Made:
    """MLflow, XGBoost: named columns in another order than the signature has them."""
    columns = list("abcde")
    train = pd.DataFrame(rows(300, seed=1), columns=columns)
    ask = pd.DataFrame(rows(64, seed=2), columns=columns)
    data = xgboost.DMatrix(train, label=labels(train.to_numpy()))
    made = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 12)
    signature = infer_signature(train[columns[::-1]], made.predict(data))
    mlflow.xgboost.save_model(made, str(folder / "m"), signature=signature, pip_requirements=[])
    (path,) = (path for path in (folder / "m").glob("model.*"))
    return Made(
        path=path,
        kind=Format.XGBOOST,
        inputs=_by_column(ask),
        answers={"output-0": made.predict(xgboost.DMatrix(ask))},
    )


def mlflow_lightgbm(folder: Path) -> Made:
    """MLflow, LightGBM: a signature of one unnamed tensor."""
    train, ask = rows(300, seed=1), rows(64, seed=2)
    data = lightgbm.Dataset(train, label=labels(train))
    made = lightgbm.train({"objective": "binary", "num_threads": 1, "verbosity": -1}, data, 12)
    signature = infer_signature(train, made.predict(train))
    mlflow.lightgbm.save_model(made, str(folder / "m"), signature=signature, pip_requirements=[])
    return Made(
        path=folder / "m/model.lgb",
        kind=Format.LIGHTGBM,
        inputs={"input-0": ask},
        answers={"output-0": np.asarray(made.predict(ask))},
    )


def mlflow_onnx(folder: Path) -> Made:
    """MLflow, ONNX: the graph says what it takes, whatever the signature calls it."""
    train, ask = rows(300, seed=1, missing=False), rows(64, seed=2, missing=False)
    fitted = LogisticRegression().fit(train, labels(train))
    graph = to_onnx(fitted, train[:1].astype(np.float32), options={"zipmap": False})
    signature = infer_signature(train, fitted.predict(train))
    mlflow.onnx.save_model(graph, str(folder / "m"), signature=signature, pip_requirements=[])
    answers = {"label": fitted.predict(ask), "probabilities": fitted.predict_proba(ask)}
    return Made(
        path=folder / "m/model.onnx",
        kind=Format.ONNX,
        inputs={"X": ask.astype(np.float32)},
        answers=answers,
    )


def river_classifier(folder: Path) -> Made:
    """A learner's snapshot of two classes, over three inputs of which one is not learned from."""
    return _river(folder, Plan(kind="logistic_regression", features=learned.FEATURES))


def river_regressor(folder: Path) -> Made:
    """A learner's snapshot of a number."""
    return _river(folder, Plan(kind="linear_regression", features=learned.FEATURES))


def _river(folder: Path, plan: Plan) -> Made:
    train, ask = (rows(count, seed=count, missing=False)[:, :3] for count in (200, 64))
    ask = ask.astype(np.float32).astype(np.float64)
    targets = labels(train) if plan.classifies else train.sum(axis=1)
    given = zip(train.tolist(), targets.tolist(), strict=True)
    state = learned.learned(plan, list(given))
    path = folder / MODEL_FILE
    path.write_bytes(encode_document(learned.document(plan, state)))
    estimator = Estimator(plan, state)
    values = np.array([estimator.predict(row) for row in ask.tolist()])
    answers: Answer = {"predict": values}
    if plan.classifies:
        both = np.stack([1 - values, values], axis=1)
        answers = {"predict": (values > 0.5).astype(np.int64), "predict_proba": both}
    return Made(path=path, kind=Format.RIVER, inputs=learned.feed(plan, ask), answers=answers)


MODELS: dict[str, Callable[[Path], Made]] = {
    maker.__name__: maker
    for maker in (
        booster,
        booster_as_json,
        linear_booster,
        xgboost_classifier,
        xgboost_of_three_classes,
        light,
        light_of_three_classes,
        forest,
        words,
        mlflow_columns,
        mlflow_xgboost,
        mlflow_lightgbm,
        mlflow_onnx,
        river_classifier,
        river_regressor,
    )
}


def _by_column(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    return {str(name): frame[[name]].to_numpy() for name in frame.columns}
