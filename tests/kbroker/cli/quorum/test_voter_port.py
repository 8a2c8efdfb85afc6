"""What voters ask and answer, over real connections."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from kbroker.cli.quorum.voter_port import (
    Members,
    NoAnswer,
    Statement,
    answer_voters,
    ask,
    http_get,
)
from kbroker.os_world import OsNetwork
from kbroker.world import Address
from tests.broker_process import free_port

ONE = Statement(1, "the-cluster", "1@a:9093,2@[::1]:9093", frozenset({2}))
TWO = Statement(2, "the-cluster", "1@a:9093,2@[::1]:9093")


@asynccontextmanager
async def voter(answer: Statement, asked: list[Statement]) -> AsyncIterator[Address]:
    """Answers, and notes who asks."""

    async def converse(asking: Statement) -> Statement:
        asked.append(asking)
        return answer

    address = Address("127.0.0.1", free_port())
    async with trio.open_nursery() as nursery:
        await nursery.start(answer_voters, OsNetwork(), address.host, address.port, converse)
        yield address
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def something(says: bytes) -> AsyncIterator[Address]:
    """Says the same to everybody who sends anything."""
    listener = await OsNetwork().listen("127.0.0.1", 0)

    async def serve() -> None:
        while True:
            connection = await listener.accept()
            await connection.receive_into(memoryview(bytearray(4096)))
            await connection.send([says])
            connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield listener.address
        nursery.cancel_scope.cancel()
    listener.close()


def answer_with(body: object, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{json.dumps(body)}".encode()


async def test_both_sides_learn_who_the_other_is() -> None:
    asked: list[Statement] = []
    async with voter(TWO, asked) as address:
        assert await ask(OsNetwork(), address.host, address.port, ONE) == TWO
        assert await ask(OsNetwork(), address.host, address.port, TWO) == TWO
    assert asked == [ONE, TWO]


async def test_etcd_answers_with_its_members() -> None:
    members = [
        {"id": 7, "peerURLs": ["http://a:2380"], "name": "1"},
        {"id": 8, "peerURLs": ["http://b:2380"]},
    ]
    async with something(answer_with(members)) as address:
        answer = await ask(OsNetwork(), address.host, address.port, ONE)
    assert answer == Members(frozenset({"http://a:2380", "http://b:2380"}))


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 x\r\n\r\n", "does not speak HTTP"),
        (answer_with([], "404 Not Found"), "neither a voter nor etcd"),
        (answer_with("hello"), "neither a voter nor etcd"),
        (answer_with({"node.id": "1"}), "neither a voter nor etcd"),
        (answer_with({**ONE.as_fields(), "heard": "2,x"}), "neither a voter nor etcd"),
        (answer_with({**ONE.as_fields(), "voters": 3}), "neither a voter nor etcd"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", "neither a voter nor etcd"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), "does not end"),
    ],
)
async def test_who_is_neither_has_not_answered(says: bytes, told: str) -> None:
    async with something(says) as address:
        with pytest.raises(NoAnswer, match=told):
            await ask(OsNetwork(), address.host, address.port, ONE)


async def test_nobody_there_and_nobody_who_answers() -> None:
    with pytest.raises(NoAnswer, match="no connection"):
        await ask(OsNetwork(), "127.0.0.1", free_port(), ONE)
    listener = await OsNetwork().listen("127.0.0.1", 0)
    with pytest.raises(NoAnswer, match=r"within 0\.05 s"):
        await http_get(OsNetwork(), "127.0.0.1", listener.address.port, "/members", timeout_s=0.05)
    listener.close()


@pytest.mark.parametrize(
    "request_head",
    [
        "GET / HTTP/1.1",
        "POST /members HTTP/1.1",
        "GET /members HTTP/1.1",
        "GET /members?node.id=x HTTP/1.1",
        "x",
    ],
)
async def test_other_questions_get_no_answer_and_are_noted_by_nobody(request_head: str) -> None:
    asked: list[Statement] = []
    async with voter(TWO, asked) as address:
        connection = await OsNetwork().connect(address.host, address.port)
        await connection.send([f"{request_head}\r\n\r\n".encode()])
        buffer = bytearray(4096)
        assert bytes(buffer[: await connection.receive_into(memoryview(buffer))]).startswith(b"HTTP/1.0 404")
        connection.close()
        # It goes on answering others.
        assert await ask(OsNetwork(), address.host, address.port, ONE) == TWO
    assert asked == [ONE]
