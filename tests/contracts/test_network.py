"""What every Network must do: the operating system's and the one in memory alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from kbroker.os_world import OsNetwork
from kbroker.world import Connection, ConnectionLost, Network
from storage.file_cache import FileCache, FileHandle
from storage.file_slice import FileSlice
from storage.filesystem import OsFilesystem
from tests.memory_network import MemoryNetwork


@pytest.fixture(params=[OsNetwork, MemoryNetwork])
def network(request: pytest.FixtureRequest) -> Network:
    made: Network = request.param()
    return made


@asynccontextmanager
async def connected(network: Network) -> AsyncIterator[tuple[Connection, Connection]]:
    """(client, server): both ends of one connection."""
    listener = await network.listen("127.0.0.1", 0)
    client = await network.connect("127.0.0.1", listener.address.port)
    server = await listener.accept()
    listener.close()
    try:
        yield client, server
    finally:
        client.close()
        server.close()


async def receive(connection: Connection, size: int) -> bytes:
    buffer = bytearray(size)
    filled = 0
    while filled < size:
        count = await connection.receive_into(memoryview(buffer)[filled:])
        assert count, "the stream ended early"
        filled += count
    return bytes(buffer)


async def test_parts_arrive_in_order_and_whole(network: Network) -> None:
    async with connected(network) as (client, server):
        parts = [b"one", bytearray(b"two"), b"", memoryview(b"three")]
        with trio.fail_after(5):
            await client.send(parts)
            assert await receive(server, 11) == b"onetwothree"


async def test_more_parts_than_one_system_call_takes(network: Network) -> None:
    async with connected(network) as (client, server):
        parts = [bytes([index % 256]) * 1000 for index in range(500)]
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, parts)
                assert await receive(server, 500_000) == b"".join(parts)


async def test_addresses_name_both_ends(network: Network) -> None:
    async with connected(network) as (client, server):
        assert client.peer_address == server.local_address
        assert client.local_address == server.peer_address
        assert server.local_address.host == "127.0.0.1"


async def test_the_end_of_the_stream_is_zero_bytes(network: Network) -> None:
    async with connected(network) as (client, server):
        client.close()
        with trio.fail_after(5):
            assert await server.receive_into(memoryview(bytearray(10))) == 0


async def test_a_closed_connection_is_lost(network: Network) -> None:
    async with connected(network) as (client, _):
        client.close()
        with pytest.raises(ConnectionLost):
            await client.receive_into(memoryview(bytearray(10)))
        with pytest.raises(ConnectionLost):
            await client.send([b"x"])


async def test_closing_wakes_a_task_that_waits_for_bytes(network: Network) -> None:
    async with connected(network) as (client, _):

        async def wait_for_bytes() -> None:
            with pytest.raises(ConnectionLost):
                await client.receive_into(memoryview(bytearray(10)))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_bytes)
                await trio.testing.wait_all_tasks_blocked()
                client.close()


async def test_nobody_listens(network: Network) -> None:
    listener = await network.listen("127.0.0.1", 0)
    port = listener.address.port
    listener.close()
    with pytest.raises(ConnectionLost):
        await network.connect("127.0.0.1", port)


async def test_a_port_is_bound_once(network: Network) -> None:
    listener = await network.listen("127.0.0.1", 0)
    with pytest.raises(OSError):
        await network.listen("127.0.0.1", listener.address.port)
    listener.close()


async def test_closing_a_listener_ends_accept(network: Network) -> None:
    listener = await network.listen("127.0.0.1", 0)

    async def accept() -> None:
        with pytest.raises(ConnectionLost):
            await listener.accept()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            listener.close()


async def test_a_file_slice_is_sent_between_other_parts(network: Network, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "log").write_bytes(content)
    handle = FileHandle(FileCache(OsFilesystem(), open_files_max=10), str(tmp_path / "log"))
    async with connected(network) as (client, server):
        with trio.fail_after(5), FileSlice(handle, 10, 1_000_000) as file_slice:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, [b"head", file_slice, b"tail"])
                assert await receive(server, 1_000_008) == b"head" + content[10:1_000_010] + b"tail"


async def test_many_requests_at_once_do_not_starve_other_tasks(network: Network) -> None:
    async with connected(network) as (client, server):
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count_turns)
                for _ in range(200):
                    await client.send([b"x"])
                    await receive(server, 1)
                nursery.cancel_scope.cancel()
        assert turns >= 10
