"""A whole broker inside the test's own process, on loopback ports and a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from kbroker.broker import Broker
from kbroker.client import BrokerClient
from kbroker.config.broker_config import BrokerConfig
from kbroker.os_world import OsWorld
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse
from wire.records import Record, build_batch

STOP_DEADLINE_S = 10


class RunningBroker:
    """Handle on a broker under test."""

    def __init__(self, broker: Broker, port: int) -> None:
        self.broker = broker
        self.port = port
        self._world = OsWorld()

    async def client(self, client_id: str = "test") -> BrokerClient:
        return await BrokerClient.connect(self._world.network, "127.0.0.1", self.port, client_id=client_id)


@asynccontextmanager
async def running_broker(directory: Path, **overrides: str) -> AsyncIterator[RunningBroker]:
    """Start a broker on ``directory``; overrides are config keys with ``__`` for ``.``: ``node__id="2"``."""
    settings = {
        "listeners": "PLAINTEXT://127.0.0.1:0",
        "log.dirs": str(directory),
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "2",
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    broker = Broker(config=BrokerConfig(settings), world=OsWorld())
    async with trio.open_nursery() as nursery:
        ready = await nursery.start(broker.run)
        yield RunningBroker(broker, next(iter(ready.listeners.values())).port)
        broker.stop()
        with trio.fail_after(STOP_DEADLINE_S):
            await broker.wait_stopped()


async def create_topic(
    client: BrokerClient, name: str, partitions: int = 1, configs: dict[str, str] | None = None
) -> CreateTopicsResponse.CreatableTopicResult:
    """Create one topic and return its result, which must be a success."""
    topic = CreateTopicsRequest.CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        configs=[
            CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
            for key, value in (configs or {}).items()
        ],
    )
    request = CreateTopicsRequest(topics=[topic], timeout_ms=5000)
    result = (await client.request(request, CreateTopicsResponse)).topics[0]
    assert result.error_code == 0, result
    return result


def batch(*values: bytes, timestamp_ms: int = 1_700_000_000_000, **fields: object) -> bytearray:
    """A record batch of ``values`` without keys, as a producer sends it."""
    records = [Record(offset, timestamp_ms + offset, None, value, ()) for offset, value in enumerate(values)]
    return build_batch(records, base_offset=0, **fields)  # type: ignore[arg-type]
