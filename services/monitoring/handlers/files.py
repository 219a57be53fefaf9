"""Reaching the blob store from inside a handler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from headrace.errors import Transient


@contextmanager
def reaching_files() -> Iterator[None]:
    """Trouble of the blob store is Transient: the batch waits for it instead of being dropped."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise Transient(f"the blob store cannot be used now: {error}") from error
