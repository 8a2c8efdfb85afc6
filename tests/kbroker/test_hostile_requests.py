"""Requests that no client would send: the broker answers, or closes that connection, and nothing else happens.

Mutated and random request bodies for every served API in every version. A handler that fails on one of them (it is
logged as an error) is a defect, even though only its own connection would notice.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import random
import struct
from pathlib import Path

import pytest
import trio

import kbroker.handlers
from kbroker.client import BrokerClient
from kbroker.world import ConnectionLost
from tests.running_broker import RunningBroker, batch, create_topic, running_broker
from wire.messages import API_KEYS, request_class
from wire.schema import Request

MUTATIONS_PER_VERSION = 12
ANSWER_DEADLINE_S = 5


def header(api_key: int, version: int) -> bytes:
    flexible = API_KEYS[api_key].flexible_version
    tail = b"\0" if flexible is not None and version >= flexible else b""
    return struct.pack(">hhih", api_key, version, 1, 4) + b"fuzz" + tail


def seed_bodies(api_key: int, version: int) -> list[bytes]:
    """Valid bodies to start from: the empty request, and for the data path one that says something."""
    message: Request = request_class(api_key)()
    bodies = [message.encode(version)]
    if API_KEYS[api_key].name == "Produce":
        data = type(message).TopicProduceData(name="t")  # type: ignore[attr-defined]
        data.partition_data = [data.PartitionProduceData(index=0, records=batch(b"value", b"other"))]
        bodies.append(type(message)(acks=1, timeout_ms=10, topic_data=[data]).encode(version))
    return bodies


def mutated(body: bytes, chance: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        match chance.randrange(4):
            case 0 if data:
                data[chance.randrange(len(data))] = chance.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
                )
            case 1:
                at = chance.randint(0, len(data))
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 2 if data:
                del data[chance.randrange(len(data)) :]
            case _:
                data += chance.randbytes(chance.randint(1, 30))
    return bytes(data)


async def survives(broker: RunningBroker, frame: bytes) -> None:
    """Send one frame on a connection of its own; it is answered, closed, or waits like a good long poll."""
    client = await broker.client()
    try:
        await client._connection.send([struct.pack(">i", len(frame)), frame])
        with trio.move_on_after(0.05):
            try:
                await client._receive()
            except ConnectionLost:
                return
    finally:
        client.close()


def served_versions() -> list[tuple[int, int]]:
    """(API key, version) of everything that some handler answers."""
    found: list[tuple[int, int]] = []
    for module_info in pkgutil.iter_modules(kbroker.handlers.__path__):
        module = importlib.import_module(f"kbroker.handlers.{module_info.name}")
        for family in vars(module).values():
            for method in vars(family).values() if isinstance(family, type) else ():
                request = getattr(method, "__kbroker_request_class__", None)
                if request is not None:
                    versions = range(request.min_version, request.max_version + 1)
                    found += [(request.api_key, version) for version in versions]
    return sorted(found)


@pytest.mark.slow
async def test_no_request_body_makes_a_handler_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(20_260)
    caplog.set_level(logging.ERROR)
    versions = served_versions()
    assert len(versions) > 150
    async with running_broker(tmp_path / "data") as broker, await broker.client() as watcher:
        await create_topic(watcher, "t")
        async with trio.open_nursery() as nursery:
            limit = trio.CapacityLimiter(16)

            async def attack(api_key: int, version: int, body: bytes) -> None:
                async with limit:
                    await survives(broker, header(api_key, version) + body)
                assert not caplog.records, (API_KEYS[api_key].name, version, body.hex())

            for api_key, version in versions:
                for _ in range(MUTATIONS_PER_VERSION):
                    body = mutated(chance.choice(seed_bodies(api_key, version)), chance)
                    nursery.start_soon(attack, api_key, version, body)
        with trio.fail_after(ANSWER_DEADLINE_S):
            assert await is_alive(watcher)


async def is_alive(client: BrokerClient) -> bool:
    await client._agree_on_versions()
    return True


async def test_random_bytes_are_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(7)
    async with running_broker(tmp_path / "data") as broker, await broker.client() as watcher:
        for _ in range(200):
            await survives(broker, chance.randbytes(chance.randint(0, 64)))
        assert await is_alive(watcher)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
