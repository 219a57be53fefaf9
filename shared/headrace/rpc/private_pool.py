"""The descriptor pool of messages whose names clients in the same process may define too."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor_pool import DescriptorPool

_POOL: Final = DescriptorPool()


def Default() -> DescriptorPool:
    """The pool that generated modules put their files in."""
    return _POOL
