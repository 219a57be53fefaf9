"""Brings fresh backends into the state that the services expect. Every call may be repeated.

The imports are heavy (drivers), so they happen while the backends start, not before.
"""

import asyncio
from importlib import import_module

from deploy.local.backends import ADMIN, BUCKET, DATABASE, Backends


def preload() -> None:
    """Import what the other functions need."""
    import_module("headrace.runtime.provision")


def topics(backends: Backends) -> None:
    """Create the topics of the contract table."""
    from headrace.runtime.provision import apply_topics  # noqa: PLC0415

    asyncio.run(apply_topics(backends.kafka))


def database(backends: Backends) -> None:
    """Create the database, and a login role with a schema of its own for every service."""
    from headrace.runtime.provision import apply_roles  # noqa: PLC0415

    asyncio.run(apply_roles(backends.admin_url(ADMIN), backends.role_passwords, database=DATABASE))


def bucket(backends: Backends, name: str = BUCKET) -> None:
    """Create a bucket unless it exists."""
    from headrace.runtime.provision import apply_bucket  # noqa: PLC0415

    asyncio.run(
        apply_bucket(
            endpoint=backends.s3_endpoint,
            bucket=name,
            access_key=backends.s3_access_key,
            secret_key=backends.s3_secret_key,
        )
    )
