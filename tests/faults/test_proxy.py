"""The proxy does to connections what its names say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import Proxy

QUIET_SECONDS = 0.2
PATIENCE_SECONDS = 5.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that answers with what it gets."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as running:
        yield running
    server.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1000):
        writer.write(chunk)
    writer.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, text: bytes, *, expected: int) -> bytes:
        """What comes back, up to so many bytes; fewer where the connection ends."""
        self._writer.write(text)
        answer = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(answer) < expected:
                chunk = await self._reader.read(expected - len(answer))
                if not chunk:
                    break
                answer += chunk
        return answer


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield Client(reader, writer)
    writer.close()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    """A connection over which something has passed already."""
    async with connected(proxy) as made:
        assert await made.ask(b"first", expected=5) == b"first"
        yield made


async def test_it_forwards_both_ways(client: Client) -> None:
    assert await client.ask(b"hello", expected=5) == b"hello"


async def test_a_cut_ends_connections_and_takes_new_ones(proxy: Proxy, client: Client) -> None:
    proxy.cut()
    with pytest.raises((ConnectionError, AssertionError)):
        assert await client.ask(b"again", expected=5) == b"again"
    async with connected(proxy) as other:
        assert await other.ask(b"hello", expected=5) == b"hello"


async def test_only_so_many_bytes_of_answers_pass_before_a_cut(
    proxy: Proxy, client: Client
) -> None:
    proxy.cut_after(3)
    assert await client.ask(b"again", expected=5) == b"aga"


async def test_a_half_open_connection_stays_and_says_nothing_until_it_is_cut(
    proxy: Proxy, client: Client
) -> None:
    proxy.silence()
    asking = asyncio.create_task(client.ask(b"again", expected=5))
    await asyncio.wait({asking}, timeout=QUIET_SECONDS)
    assert not asking.done()
    proxy.heal()
    await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
    assert asking.done()


async def test_a_slow_way_delays_the_answer(proxy: Proxy, client: Client) -> None:
    proxy.slow(QUIET_SECONDS)
    began = asyncio.get_running_loop().time()
    assert await client.ask(b"again", expected=5) == b"again"
    assert asyncio.get_running_loop().time() - began >= QUIET_SECONDS
