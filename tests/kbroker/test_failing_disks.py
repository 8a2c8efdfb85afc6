"""A whole broker whose disk fails or fills up: what clients are told, who goes on, and what is there afterwards."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from kbroker.client import BrokerClient
from tests.kbroker.simulated_machine import Machine, Records, produce, read_all
from tests.running_broker import create_topic
from tests.sim.filesystem import SYNCS, WRITES, Fault
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.messages.group_membership import HeartbeatRequest, HeartbeatResponse
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse
from wire.messages.offsets import (
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)
from wire.messages.transactions import DescribeProducersRequest, DescribeProducersResponse

START_MS = 1_700_000_000_000
STORAGE = ErrorCode.KAFKA_STORAGE_ERROR


def two_directories(directory: Path, **settings: str) -> tuple[Machine, str, str]:
    """A machine with two log directories. The metadata lies in the first one, on the real disk, and stays well."""
    first, second = directory / "first", directory / "second"
    first.mkdir()
    return Machine(first, 1, **{"log.dirs": f"{first},{second}", **settings}), str(first), str(second)


async def partitions_in(client: BrokerClient, path: str) -> list[int]:
    """Which partitions of ``t`` a log directory holds."""
    response = await client.request(DescribeLogDirsRequest(topics=None), DescribeLogDirsResponse, version=3)
    return [
        partition.partition_index
        for result in response.results
        if result.log_dir == path
        for topic in result.topics
        if topic.name == "t"
        for partition in topic.partitions
    ]


async def errors_of(client: BrokerClient, partition: int) -> dict[str, ErrorCode]:
    """What every API answers about a partition of ``t``."""
    produced, _ = await produce(client, partition, b"x")
    wanted = FetchRequest.FetchTopic.FetchPartition(partition=partition, partition_max_bytes=1 << 20)
    fetch = FetchRequest(max_wait_ms=0, topics=[FetchRequest.FetchTopic(topic="t", partitions=[wanted])])
    fetched = await client.request(fetch, FetchResponse, version=11)
    asked = ListOffsetsRequest.ListOffsetsTopic
    listing = ListOffsetsRequest(
        replica_id=-1,
        topics=[
            asked(name="t", partitions=[asked.ListOffsetsPartition(partition_index=partition, timestamp=-1)])
        ],
    )
    listed = await client.request(listing, ListOffsetsResponse, version=5)
    doomed = DeleteRecordsRequest.DeleteRecordsTopic
    deletion = DeleteRecordsRequest(
        topics=[
            doomed(name="t", partitions=[doomed.DeleteRecordsPartition(partition_index=partition, offset=0)])
        ],
        timeout_ms=1000,
    )
    deleted = await client.request(deletion, DeleteRecordsResponse, version=1)
    question = DescribeProducersRequest(
        topics=[DescribeProducersRequest.TopicRequest(name="t", partition_indexes=[partition])]
    )
    described = await client.request(question, DescribeProducersResponse)
    codes = {
        "Produce": produced,
        "Fetch": fetched.responses[0].partitions[0].error_code,
        "ListOffsets": listed.topics[0].partitions[0].error_code,
        "DeleteRecords": deleted.topics[0].partitions[0].error_code,
        "DescribeProducers": described.topics[0].partitions[0].error_code,
    }
    return {name: ErrorCode(code) for name, code in codes.items()}


async def directory_errors(client: BrokerClient) -> dict[str, ErrorCode]:
    response = await client.request(DescribeLogDirsRequest(topics=None), DescribeLogDirsResponse, version=3)
    return {result.log_dir: ErrorCode(result.error_code) for result in response.results}


@pytest.mark.parametrize("operation", ["write", "sync", "sync_directory", "write_file"])
async def test_a_failing_disk_takes_its_own_directory_offline_and_no_other(
    operation: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine, sound, broken = two_directories(tmp_path)
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", 2)
        [healthy], [doomed] = await partitions_in(client, sound), await partitions_in(client, broken)
        first: Records = {}
        if operation != "sync_directory":  # which happens when a log is synced for the first time
            for partition in (healthy, doomed):
                code, offset = await produce(client, partition, b"first")
                assert code is ErrorCode.NONE
                first[partition, offset] = b"first"
        machine.filesystem.faults.append(Fault(frozenset({operation}), broken, errno.EIO, count=-1))
        if operation == "write_file":
            await trio.sleep(61)  # a checkpoint is due
        else:
            assert (await produce(client, doomed, b"lost"))[0] is STORAGE
        assert set((await errors_of(client, doomed)).values()) == {STORAGE}
        assert set((await errors_of(client, healthy)).values()) == {ErrorCode.NONE}
        assert await directory_errors(client) == {sound: ErrorCode.NONE, broken: STORAGE}
        # New partitions avoid it.
        await create_topic(client, "new", 3)
        assert set((await errors_of(client, healthy)).values()) == {ErrorCode.NONE}
    # The disk was repaired.
    async with machine.running() as port, await machine.client(port) as client:
        assert await directory_errors(client) == {sound: ErrorCode.NONE, broken: ErrorCode.NONE}
        assert set((await errors_of(client, doomed)).values()) == {ErrorCode.NONE}
        found = await read_all(client, doomed) | await read_all(client, healthy)
        assert found.items() >= first.items()


async def test_a_disk_that_cannot_be_read_takes_its_directory_offline(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine, sound, broken = two_directories(tmp_path)
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", 2)
        [doomed] = await partitions_in(client, broken)
        for _ in range(3):
            await produce(client, doomed, b"x")
    async with machine.running() as port, await machine.client(port) as client:
        machine.filesystem.faults.append(Fault(frozenset({"read"}), broken, errno.EIO, count=-1))
        wanted = FetchRequest.FetchTopic.FetchPartition(
            partition=doomed, fetch_offset=1, partition_max_bytes=1 << 20
        )
        fetch = FetchRequest(max_wait_ms=0, topics=[FetchRequest.FetchTopic(topic="t", partitions=[wanted])])
        fetched = await client.request(fetch, FetchResponse, version=11)
        assert fetched.responses[0].partitions[0].error_code == STORAGE
        assert await directory_errors(client) == {sound: ErrorCode.NONE, broken: STORAGE}


async def heartbeat(client: BrokerClient) -> ErrorCode:
    """What the coordinator of group ``g`` says to a member that it does not know."""
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id="m")
    return ErrorCode((await client.request(request, HeartbeatResponse, version=3)).error_code)


async def test_what_was_coordinated_from_a_failed_directory_is_not_any_more(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    machine, sound, broken = two_directories(tmp_path)
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", 1)  # in one directory, and so the coordinator's log is in the other
        coordinating = sound if await partitions_in(client, broken) else broken
        find = FindCoordinatorRequest(key="g")
        assert (await client.request(find, FindCoordinatorResponse, version=2)).error_code == 0
        await trio.sleep(1)
        assert await heartbeat(client) is ErrorCode.UNKNOWN_MEMBER_ID
        machine.filesystem.faults.append(Fault(frozenset({"write_file"}), coordinating, errno.EIO, count=-1))
        await trio.sleep(61)
        assert await heartbeat(client) is ErrorCode.NOT_COORDINATOR
        assert (await produce(client, 0, b"x"))[0] is ErrorCode.NONE


@pytest.mark.parametrize("seed", range(4))
async def test_a_full_disk_refuses_and_takes_appends_again_once_there_is_room(
    seed: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The disk fills up at every write there is, one after the other: batches, rolls, indexes, epochs, snapshots."""
    tmp_path.joinpath("data").mkdir()
    machine = Machine(tmp_path / "data", seed)
    acknowledged: Records = {}
    refusals = 0
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", 1, {"segment.ms": "2500", "index.interval.bytes": "100"})
        for number in range(60):
            value = b"%d" % number
            fault = Fault(
                WRITES, str(tmp_path), errno.ENOSPC, delay=(number + seed) % 5, count=1 + number % 3
            )
            machine.filesystem.faults[:] = [fault]
            while True:
                code, offset = await produce(
                    client,
                    0,
                    value * 30,
                    timestamp_ms=START_MS + number * 1000,
                    producer_id=7,
                    producer_epoch=0,
                    base_sequence=number,
                )
                if code is ErrorCode.NONE:
                    acknowledged[0, offset] = value * 30
                    break
                # Nothing else would make an idempotent producer try again.
                assert code is STORAGE
                refusals += 1
                assert refusals < 500
                await trio.sleep(0.5)
        machine.filesystem.faults.clear()
        assert refusals > 10
        assert sorted(acknowledged) == [(0, offset) for offset in range(60)]
        assert await read_all(client, 0) == acknowledged
        assert set((await directory_errors(client)).values()) == {ErrorCode.NONE}
    async with machine.running() as port, await machine.client(port) as client:
        assert await read_all(client, 0) == acknowledged


async def test_a_sync_for_which_there_is_no_room_has_lost_data_and_ends_the_directory(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Unlike an append that is refused: nobody knows what of the page cache is gone, and a second try may succeed."""
    machine, sound, broken = two_directories(tmp_path)
    async with machine.running() as port, await machine.client(port) as client:
        await create_topic(client, "t", 2)
        [healthy], [doomed] = await partitions_in(client, sound), await partitions_in(client, broken)
        machine.filesystem.faults.append(Fault(SYNCS, broken, errno.ENOSPC))
        assert (await produce(client, doomed, b"x"))[0] is STORAGE
        assert (await produce(client, doomed, b"x"))[0] is STORAGE
        assert (await produce(client, healthy, b"x"))[0] is ErrorCode.NONE


@pytest.mark.parametrize("what", ["t", "__consumer_offsets"])
async def test_a_topic_created_on_a_full_disk_is_there_once_there_is_room(
    what: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    tmp_path.joinpath("data").mkdir()
    machine = Machine(tmp_path / "data", 1)
    async with machine.running() as port, await machine.client(port) as client:
        machine.filesystem.faults.append(Fault(WRITES, str(tmp_path), errno.ENOSPC, count=-1))
        find = FindCoordinatorRequest(key="g")
        if what == "t":
            await create_topic(client, "t", 20)
            for partition in (0, 19):
                assert (await produce(client, partition, b"x"))[0] is STORAGE
        else:
            await client.request(find, FindCoordinatorResponse, version=2)
            await trio.sleep(60)
            assert await heartbeat(client) is ErrorCode.NOT_COORDINATOR
        machine.filesystem.faults.clear()
        await trio.sleep(6)
        if what == "t":
            for partition in range(20):
                assert (await produce(client, partition, b"x"))[0] is ErrorCode.NONE
        else:
            assert (await client.request(find, FindCoordinatorResponse, version=2)).error_code == 0
            assert await heartbeat(client) is ErrorCode.UNKNOWN_MEMBER_ID
