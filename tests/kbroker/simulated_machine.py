"""A whole broker on a simulated disk and a network in memory, under virtual time."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from kbroker.broker import Broker
from kbroker.client import BrokerClient
from kbroker.config.broker_config import BrokerConfig
from tests.memory_network import MemoryNetwork
from tests.running_broker import batch
from tests.sim.coverage import Coverage
from tests.sim.disk import Disk
from tests.sim.filesystem import Crashed, SimulatedFilesystem
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import iterate_batches, read_records

Records = dict[tuple[int, int], bytes]
"""(partition, offset) -> value, of topic ``t``."""


class Machine:
    """A computer: a disk with what survives, and one broker after the other running on it.

    (The cluster's metadata is SQLite's business: it lies on the real disk, which keeps its power.)
    """

    def __init__(self, directory: Path, seed: int, **settings: str) -> None:
        self.random = random.Random(seed)
        self.disk = Disk(random.Random(seed), self.wall_clock_ms, Coverage())
        self.settings = {
            "listeners": "PLAINTEXT://127.0.0.1:0",
            "log.dirs": str(directory),
            "offsets.topic.num.partitions": "1",
            "log.segment.bytes": "1048576",
            **settings,
        }
        self.filesystem = SimulatedFilesystem(self.disk)
        self.network = MemoryNetwork()

    @property
    def file_sync(self) -> None:
        return None

    def wall_clock_ms(self) -> int:
        return 1_700_000_000_000 + int(trio.current_time() * 1000)

    def monotonic(self) -> float:
        return trio.current_time()

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any:
        # A thread would let virtual time run away; the pause lets other tasks in, as a disk does.
        for _ in range(self.random.randrange(1, 6)):
            await trio.lowlevel.checkpoint()
        return function(*arguments)

    @asynccontextmanager
    async def running(self, *, power_loss: bool = True) -> AsyncIterator[int]:
        """Boot; gives the broker's port. At the end of the block the power goes, or only the process."""
        self.filesystem = SimulatedFilesystem(self.disk)
        self.network = MemoryNetwork()
        try:
            async with trio.open_nursery() as nursery:
                broker = Broker(config=BrokerConfig(self.settings), world=self)
                ready = await nursery.start(broker.run)
                yield next(iter(ready.listeners.values())).port
                self.filesystem.kill()
                nursery.cancel_scope.cancel()
        except* Crashed:
            pass
        if power_loss:
            self.disk.lose_power()

    async def client(self, port: int) -> BrokerClient:
        return await BrokerClient.connect(self.network, "127.0.0.1", port)


async def produce(
    client: BrokerClient, partition: int, value: bytes, *, acks: int = -1, **fields: int
) -> tuple[ErrorCode, int]:
    """Append one record; (error, its offset). ``fields`` are those of a batch, such as ``producer_id``."""
    data = ProduceRequest.TopicProduceData(
        name="t",
        partition_data=[
            ProduceRequest.TopicProduceData.PartitionProduceData(
                index=partition, records=batch(value, **fields)
            )
        ],
    )
    request = ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[data])
    response = await client.request(request, ProduceResponse, version=9)
    answer = response.responses[0].partition_responses[0]
    return ErrorCode(answer.error_code), answer.base_offset


async def read_all(client: BrokerClient, partition: int) -> Records:
    found: Records = {}
    offset = 0
    while True:
        asked = FetchRequest.FetchTopic.FetchPartition(
            partition=partition, fetch_offset=offset, partition_max_bytes=1 << 20
        )
        request = FetchRequest(
            max_wait_ms=0, min_bytes=0, topics=[FetchRequest.FetchTopic(topic="t", partitions=[asked])]
        )
        response = await client.request(request, FetchResponse, version=11)
        data = response.responses[0].partitions[0]
        assert data.error_code == 0
        records = bytes(data.records or b"")
        if not records:
            return found
        for position, header in iterate_batches(records):
            for record in read_records(records, position, decompressed_bytes_max=1 << 20):
                found[partition, record.offset] = record.value or b""
            offset = header.next_offset
