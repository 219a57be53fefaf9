"""The fixtures that all component tests stand on."""

from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from asyncpg.exceptions import InsufficientPrivilegeError, UndefinedTableError
from botocore.exceptions import ClientError
from botocore.session import get_session

from deploy.local.testing import TestBucket, TestDatabase


async def test_a_role_works_in_its_own_schema_only(database: TestDatabase) -> None:
    tracking = await asyncpg.connect(database.url("tracking"))
    registry = await asyncpg.connect(database.url("registry"))
    try:
        await tracking.execute("create table tracking.secret (n int)")
        with pytest.raises((InsufficientPrivilegeError, UndefinedTableError)):
            await registry.fetch("select * from tracking.secret")
        with pytest.raises(InsufficientPrivilegeError):
            await registry.execute("create table tracking.other (n int)")
    finally:
        await tracking.close()
        await registry.close()


async def test_each_test_gets_an_empty_database(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.admin_url)
    try:
        count = await connection.fetchval(
            "select count(*) from pg_tables where schemaname = 'tracking'"
        )
    finally:
        await connection.close()

    assert count == 0


async def test_a_wrong_password_is_refused(database: TestDatabase) -> None:
    url = database.url("tracking").replace("tracking:", "tracking:x")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url)


def _client(bucket: TestBucket, secret: str) -> Any:
    return get_session().create_client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name="us-east-1",
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=secret,
    )


def test_a_bucket_keeps_what_is_put_into_it(bucket: TestBucket) -> None:
    client = _client(bucket, bucket.secret_key)
    client.put_object(Bucket=bucket.name, Key="a/b", Body=b"water")

    assert client.get_object(Bucket=bucket.name, Key="a/b")["Body"].read() == b"water"


def test_a_wrong_secret_key_is_refused(bucket: TestBucket) -> None:
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _client(bucket, "wrong").list_objects_v2(Bucket=bucket.name)


async def test_topics_are_never_made_by_asking_for_them(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.describe_topics(["nobody.made.this.v1"])
        assert "nobody.made.this.v1" not in await admin.list_topics()
    finally:
        await admin.close()
