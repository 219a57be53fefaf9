"""Brings fresh backends into the state that the services expect. Every call may be repeated."""

import asyncio

import aioboto3
import asyncpg

from deploy.local.backends import ADMIN, BUCKET, DATABASE, Backends


def topics(backends: Backends) -> None:
    """Create or update the topics of the contract table."""
    return None


def database(backends: Backends) -> None:
    """Create the database, and a login role with a schema of its own for every service."""
    asyncio.run(_database(backends))


async def _database(backends: Backends) -> None:
    connection = await asyncpg.connect(backends.admin_url(ADMIN))
    try:
        if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
            await connection.execute(f"create database {DATABASE}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(backends.admin_url())
    try:
        for role, password in backends.role_passwords.items():
            if not await connection.fetchval("select true from pg_roles where rolname = $1", role):
                await connection.execute(f"create role {role} login password '{password}'")
            await connection.execute(f"create schema if not exists {role} authorization {role}")
    finally:
        await connection.close()


def bucket(backends: Backends, name: str = BUCKET) -> None:
    """Create a bucket unless it exists."""
    asyncio.run(_bucket(backends, name))


async def _bucket(backends: Backends, name: str) -> None:
    session = aioboto3.Session(
        aws_access_key_id=backends.s3_access_key, aws_secret_access_key=backends.s3_secret_key
    )
    async with session.client("s3", endpoint_url=backends.s3_endpoint, region_name="us-east-1") as client:
        try:
            await client.create_bucket(Bucket=name)
        except client.exceptions.BucketAlreadyExists:
            return
