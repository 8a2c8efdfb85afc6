"""A whole broker on a simulated disk that loses power: what was acknowledged with acks=all is there afterwards.

``kill -9`` cannot show this, since the page cache outlives the process. Clients speak to the broker over a network
in memory; power goes at a moment that the seed decides, with requests in hand and syncs under way.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kbroker.client import BrokerClient
from kbroker.world import ConnectionLost
from tests.kbroker.simulated_machine import Machine, Records, produce, read_all
from tests.running_broker import create_topic
from wire.errors import ErrorCode
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse

PARTITIONS = 3
CLIENTS = 6


async def keep_producing(machine: Machine, port: int, number: int, acknowledged: Records) -> None:
    """One record after the other with acks=all; notes which were acknowledged at which offset."""
    try:
        async with await machine.client(port) as client:
            for count in range(1000):
                partition, value = (number + count) % PARTITIONS, f"{number}/{count}".encode()
                code, offset = await produce(client, partition, value)
                assert code is ErrorCode.NONE
                acknowledged[partition, offset] = value
    except ConnectionLost:
        pass  # the power is gone


async def lost_after_power_loss(directory: Path, seed: int, **settings: str) -> tuple[int, Records]:
    """How many records were acknowledged until the power went, and which of them are not there afterwards."""
    machine = Machine(directory, seed, **settings)
    acknowledged: Records = {}
    enough = machine.random.randrange(1, 60)
    async with machine.running() as port:
        async with await machine.client(port) as client:
            await create_topic(client, "t", PARTITIONS)
        async with trio.open_nursery() as producers:
            for number in range(CLIENTS):
                producers.start_soon(keep_producing, machine, port, number, acknowledged)
            while len(acknowledged) < enough:
                await trio.lowlevel.checkpoint()
            machine.filesystem.kill()
            survivors = dict(acknowledged)
            producers.cancel_scope.cancel()
    found: Records = {}
    async with machine.running() as port, await machine.client(port) as client:
        for partition in range(PARTITIONS):
            found |= await read_all(client, partition)
    return len(survivors), {place: value for place, value in survivors.items() if found.get(place) != value}


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_acknowledged_is_lost(seed: int, tmp_path: Path, autojump_clock: MockClock) -> None:
    acknowledged, lost = await lost_after_power_loss(tmp_path, seed)
    assert acknowledged
    assert not lost


async def commit_offset(client: BrokerClient, offset: int) -> ErrorCode:
    topic = OffsetCommitRequest.OffsetCommitRequestTopic
    request = OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=-1,
        topics=[
            topic(
                name="t",
                partitions=[topic.OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)],
            )
        ],
    )
    response = await client.request(request, OffsetCommitResponse, version=7)
    return ErrorCode(response.topics[0].partitions[0].error_code)


async def find_coordinator(client: BrokerClient) -> None:
    """Creates ``__consumer_offsets`` and waits until the coordinator has loaded it."""
    request = FindCoordinatorRequest(key="g")
    assert (await client.request(request, FindCoordinatorResponse, version=2)).error_code == 0


async def fetch_offset(client: BrokerClient) -> int:
    topic = OffsetFetchRequest.OffsetFetchRequestTopic(name="t", partition_indexes=[0])
    while True:
        request = OffsetFetchRequest(group_id="g", topics=[topic])
        response = await client.request(request, OffsetFetchResponse, version=5)
        if response.error_code != ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            assert response.error_code == 0
            return response.topics[0].partitions[0].committed_offset
        await trio.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
async def test_an_acknowledged_offset_commit_survives(
    seed: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine = Machine(tmp_path, seed)
    committed = 0
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t")
        await find_coordinator(client)
        while committed < 3 + seed:
            code = await commit_offset(client, committed + 1)
            if code is ErrorCode.NONE:
                committed += 1
            else:
                assert code is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
                await trio.sleep(0.01)
    async with machine.running() as port, await machine.client(port) as client:
        await find_coordinator(client)
        assert await fetch_offset(client) == committed


async def test_with_the_page_cache_meaning_acknowledged_records_can_be_lost(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """And so this file's tests can fail."""
    settings = {"kbroker.acks.all.sync": "false"}
    for seed in range(12):
        directory = tmp_path / str(seed)
        directory.mkdir()
        _, lost = await lost_after_power_loss(directory, seed, **settings)
        if lost:
            return
    pytest.fail("no power loss took anything that was not synced")
