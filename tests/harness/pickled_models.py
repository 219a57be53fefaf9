"""Pickles that build their model from source: no module of ours is needed where they are loaded."""

from __future__ import annotations

import pickle
import textwrap
from typing import Any


class _Built:
    def __init__(self, source: str) -> None:
        self._source = source

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        build = f"(lambda space: (exec({self._source!r}, space), space['model'])[1])({{}})"
        return eval, (build,)


def running(source: str) -> bytes:
    """A pickle that runs statements when it is loaded; they leave the model in `model`."""
    return pickle.dumps(_Built(textwrap.dedent(source)))


def predicting(statements: str, *, loading: str = "") -> bytes:
    """A model of one FP64 input `input-0` [-1,2] and one output `predict` [-1].

    `statements` run in `predict(self, rows)` when the first element is not 0; after them, and
    otherwise, it answers the sum of each row.
    """
    body = textwrap.indent(textwrap.dedent(statements), " " * 12)
    source = f"""
import ctypes, os, socket, subprocess, sys, time
{textwrap.dedent(loading)}
class Model:
    n_features_in_ = 2
    def predict(self, rows):
        if rows[0, 0] != 0:
            pass
{body}
        return rows.sum(axis=1)
model = Model()
"""
    return running(source)
