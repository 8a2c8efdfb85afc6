"""Transactions on a simulated disk: all or nothing, whatever process and machine do in the middle of them.

A producer writes each of its transactions to two partitions, in two log directories. The broker is killed, which the
page cache outlives; the next one loses its power soon after its start, when it may have begun to act on what was
never synced. Then every transaction is either in both partitions or in none, and in both if that was acknowledged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from kbroker.client import BrokerClient
from kbroker.world import ConnectionLost
from tests.kbroker.simulated_machine import Machine
from tests.running_broker import batch, create_topic
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
)
from wire.records import iterate_batches, read_records

PARTITIONS = (0, 1)
TRANSACTION = 1
READ_COMMITTED = 1
STEP_S = 0.0002
RETRIED = {
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.NOT_ENOUGH_REPLICAS,
}


class SlowMachine(Machine):
    """Its disks keep some of those who sync waiting much longer than others, while it is ``slow``."""

    slow = False

    async def run_blocking(self, function: Callable[..., Any], *arguments: object) -> Any:
        if self.slow and self.random.random() < 0.5:
            for _ in range(120):
                await trio.lowlevel.checkpoint()
        return await super().run_blocking(function, *arguments)


class Producer:
    """One transaction after the other, of both generations; retries what may be retried."""

    def __init__(self, *, is_classic: bool) -> None:
        self.is_classic = is_classic
        self.producer_id = self.epoch = -1
        self.sequences = dict.fromkeys(PARTITIONS, 0)
        self.begun = 0
        self.acknowledged: set[bytes] = set()

    async def _succeed(self, ask: Callable[[], Awaitable[int]]) -> None:
        while (code := ErrorCode(await ask())) in RETRIED:
            await trio.sleep(0.001)
        assert code is ErrorCode.NONE

    async def init(self, client: BrokerClient) -> None:
        await self._succeed(partial(self._find_coordinator, client))
        await self._succeed(partial(self._init, client))
        self.sequences = dict.fromkeys(PARTITIONS, 0)

    async def _find_coordinator(self, client: BrokerClient) -> int:
        request = FindCoordinatorRequest(key="the-id", key_type=TRANSACTION)
        return (await client.request(request, FindCoordinatorResponse, version=2)).error_code

    async def _init(self, client: BrokerClient) -> int:
        request = InitProducerIdRequest(transactional_id="the-id", transaction_timeout_ms=60_000)
        response = await client.request(request, InitProducerIdResponse, version=5)
        self.producer_id, self.epoch = response.producer_id, response.producer_epoch
        return response.error_code

    async def transaction(self, client: BrokerClient) -> None:
        value = b"%d" % self.begun
        self.begun += 1
        for partition in PARTITIONS:
            if self.is_classic:
                await self._succeed(partial(self._add, client, partition))
            await self._succeed(partial(self._produce, client, partition, value))
        await self._succeed(partial(self._commit, client))
        self.acknowledged.add(value)

    async def _add(self, client: BrokerClient, partition: int) -> int:
        named = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name="t", partitions=[partition])
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id="the-id",
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[named],
        )
        response = await client.request(request, AddPartitionsToTxnResponse, version=3)
        return response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code

    async def _produce(self, client: BrokerClient, partition: int, value: bytes) -> int:
        records = batch(
            value,
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            base_sequence=self.sequences[partition],
            is_transactional=True,
        )
        data = ProduceRequest.TopicProduceData(
            name="t",
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(index=partition, records=records)
            ],
        )
        request = ProduceRequest(transactional_id="the-id", acks=-1, timeout_ms=5000, topic_data=[data])
        response = await client.request(request, ProduceResponse, version=11 if self.is_classic else 12)
        code = response.responses[0].partition_responses[0].error_code
        if code == ErrorCode.NONE:
            self.sequences[partition] += 1
        return code

    async def _commit(self, client: BrokerClient) -> int:
        request = EndTxnRequest(
            transactional_id="the-id",
            producer_id=self.producer_id,
            producer_epoch=self.epoch,
            committed=True,
        )
        response = await client.request(request, EndTxnResponse, version=4 if self.is_classic else 5)
        if response.error_code == ErrorCode.NONE and not self.is_classic:
            self.producer_id, self.epoch = response.producer_id, response.producer_epoch
            self.sequences = dict.fromkeys(PARTITIONS, 0)
        return response.error_code


async def committed(client: BrokerClient, partition: int) -> list[bytes]:
    """What a read_committed consumer finds."""
    asked = FetchRequest.FetchTopic.FetchPartition(
        partition=partition, fetch_offset=0, partition_max_bytes=1 << 20
    )
    request = FetchRequest(
        isolation_level=READ_COMMITTED,
        max_wait_ms=0,
        min_bytes=0,
        topics=[FetchRequest.FetchTopic(topic="t", partitions=[asked])],
    )
    response = await client.request(request, FetchResponse, version=11)
    data = response.responses[0].partitions[0]
    assert data.error_code == 0
    starts = sorted((each.first_offset, each.producer_id) for each in data.aborted_transactions or [])
    aborted: set[int] = set()
    values: list[bytes] = []
    records = bytes(data.records or b"")
    for position, header in iterate_batches(records):
        while starts and starts[0][0] <= header.base_offset:
            aborted.add(starts.pop(0)[1])
        if header.is_control:
            aborted.discard(header.producer_id)
        elif header.producer_id not in aborted:
            batch_records = read_records(records, position, decompressed_bytes_max=1 << 20)
            values += [record.value or b"" for record in batch_records]
    return values


async def keep_producing(machine: Machine, port: int, producer: Producer) -> None:
    try:
        async with await machine.client(port) as client:
            await producer.init(client)
            while True:
                await producer.transaction(client)
    except ConnectionLost:
        pass  # the broker is gone


async def run_for(machine: Machine, producer: Producer, steps: int, *, power_loss: bool) -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    async with machine.running(power_loss=power_loss) as port, trio.open_nursery() as nursery:
        nursery.start_soon(keep_producing, machine, port, producer)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
            # As long as anybody is busy, virtual time stands still, and with it whoever waits to ask again.
            clock.jump(STEP_S)
        machine.filesystem.kill()
        nursery.cancel_scope.cancel()


async def anomalies(
    directory: Path, seed: int, *, is_classic: bool, slow: bool = False, **settings: str
) -> list[str]:
    directories = [directory / "one", directory / "two"]
    for each in directories:
        each.mkdir()
    settings = {"transaction.state.log.num.partitions": "1", **settings}
    machine = SlowMachine(directory, seed, **settings)
    machine.settings["log.dirs"] = ",".join(map(str, directories))
    producer = Producer(is_classic=is_classic)
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", len(PARTITIONS))
        await producer.init(client)
        await producer.transaction(client)
    machine.slow = slow
    await run_for(machine, producer, machine.random.randrange(300, 1500), power_loss=False)
    await run_for(machine, producer, machine.random.randrange(1, 80 if slow else 400), power_loss=True)
    machine.slow = False
    async with machine.running() as port, await machine.client(port) as client:
        await producer.init(client)
        await producer.transaction(client)
        await trio.sleep(5)
        one, two = [await committed(client, partition) for partition in PARTITIONS]
    found = []
    if one != two:
        found.append(f"not atomic: {one} and {two}")
    if missing := producer.acknowledged.difference(one):
        found.append(f"missing: {missing}")
    if len(set(one)) != len(one):
        found.append(f"twice: {one}")
    return found


@pytest.mark.parametrize("is_classic", [True, False], ids=["classic", "v2"])
@pytest.mark.parametrize("seed", range(3))
async def test_transactions_are_atomic(
    seed: int, is_classic: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    assert not await anomalies(tmp_path, seed, is_classic=is_classic)


@pytest.mark.parametrize(("seed", "is_classic"), [(9, False), (11, True)])
async def test_a_decision_that_is_not_on_the_disk_yet_leaves_no_markers(
    seed: int, is_classic: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Seeds in which a broker that served its coordinator's log before all of it was synced made halves."""
    assert not await anomalies(tmp_path, seed, is_classic=is_classic, slow=True)


async def test_with_the_page_cache_meaning_committed_they_need_not_be(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """And so the test above can fail."""
    for seed in range(1051, 1060):
        directory = tmp_path / str(seed)
        directory.mkdir()
        if await anomalies(directory, seed, is_classic=True, **{"kbroker.acks.all.sync": "false"}):
            return
    pytest.fail("no power loss took anything that was not synced")
