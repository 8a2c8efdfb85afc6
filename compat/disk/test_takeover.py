"""kbroker serves a log directory that Apache Kafka has written: stopped, or killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from compat.contestants import APACHE_KAFKA, KBROKER, START_DEADLINE_S, Contestant
from compat.disk.conftest import KilledKafka
from compat.disk.differences import Written
from compat.disk.observation import Observation, leader_epochs, observe, producers_of
from compat.disk.operations import Operations, Producer, record
from compat.disk.workload import BEGINNING_MS, SUBSCRIPTION
from tests.broker_process import BrokerProcess, BrokerStartError
from wire.errors import ApiError, ErrorCode

STOPPED, KILLED = "stopped", "killed"
TOOK_OVER = "took over the metadata of Apache Kafka"
NOT_CARRIED = "not carried over from Apache Kafka: "


class Takeovers:
    """Copies of what Apache Kafka has left, and kbrokers on them."""

    def __init__(
        self,
        leavings: Callable[[str], Written],
        contestants: Callable[[str], Contestant],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        self._leavings = leavings
        self._contestants = contestants
        self._directories = tmp_path_factory
        self._running: dict[tuple[str, str], tuple[Written, BrokerProcess]] = {}

    def copy(self, kind: str) -> Written:
        """A copy of its own, whatever kbroker is to make of it."""
        left = self._leavings(kind)
        data_dir = self._directories.mktemp(kind) / "data"
        shutil.copytree(left.data_dir, data_dir)
        return replace(left, data_dir=data_dir)

    def started(self, kind: str, purpose: str) -> tuple[Written, BrokerProcess]:
        """A kbroker on such a copy, that all cases of one purpose share."""
        if (kind, purpose) not in self._running:
            left = self.copy(kind)
            broker = self._contestants(KBROKER).broker(left.data_dir)
            self._running[kind, purpose] = left, broker
            broker.start(deadline_s=START_DEADLINE_S)
        return self._running[kind, purpose]

    def close(self) -> None:
        for _, broker in self._running.values():
            broker.close()


@pytest.fixture(scope="module")
def takeovers(
    request: pytest.FixtureRequest,
    written: Callable[[str], Written],
    contestants: Callable[[str], Contestant],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Takeovers]:
    def leavings(kind: str) -> Written:
        if kind == STOPPED:
            return written(APACHE_KAFKA)
        killed: KilledKafka = request.getfixturevalue("killed_kafka")
        return killed.left

    found = Takeovers(leavings, contestants, tmp_path_factory)
    yield found
    found.close()


@pytest.fixture(params=[STOPPED, KILLED])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def left(kind: str, takeovers: Takeovers) -> Written:
    """A directory that Apache Kafka has left, for this case alone."""
    return takeovers.copy(kind)


@pytest.fixture
def own(left: Written, contestants: Callable[[str], Contestant]) -> Iterator[BrokerProcess]:
    """kbroker, started on it."""
    with contestants(KBROKER).broker(left.data_dir) as broker:
        yield broker.start(deadline_s=START_DEADLINE_S)


@pytest.fixture
def untouched(kind: str, takeovers: Takeovers) -> tuple[Written, BrokerProcess]:
    """kbroker on such a directory, which nobody changes."""
    return takeovers.started(kind, "to be looked at")


@pytest.fixture
def shared(kind: str, takeovers: Takeovers) -> tuple[Written, BrokerProcess]:
    """kbroker on such a directory; each case changes another part of it."""
    return takeovers.started(kind, "to be worked with")


async def connected(broker: BrokerProcess) -> Operations:
    return await Operations.to(broker.bootstrap_server)


def continued(seen: Observation, transactional_id: str) -> Producer:
    """The producer of a transactional id, as its client knows it."""
    _, producer_id, epoch, _, _ = seen.transactions[transactional_id]
    sequences = {
        partition: last_sequence + 1
        for partition, producers in seen.producers.items()
        for found_id, found_epoch, last_sequence, *_ in producers
        if (found_id, found_epoch) == (producer_id, epoch)
    }
    return Producer(producer_id, epoch, transactional_id, sequences)


async def test_clients_see_what_they_saw(untouched: tuple[Written, BrokerProcess]) -> None:
    """Topics with their ids, configs, every byte of every log, look-ups by time, groups, transactions, producers."""
    left, kbroker = untouched
    async with await connected(kbroker) as broker:
        found = await observe(broker)
    for name, value in vars(left.seen).items():
        assert getattr(found, name) == value, name


async def test_leader_epochs_go_on(untouched: tuple[Written, BrokerProcess]) -> None:
    """Every partition is led in an epoch that Apache Kafka has not had."""
    left, kbroker = untouched
    async with await connected(kbroker) as broker:
        found = await leader_epochs(broker)
    assert found.keys() == left.leader_epochs.keys()
    assert all(found[partition] > epoch for partition, epoch in left.leader_epochs.items())


async def test_an_idempotent_producer_goes_on(shared: tuple[Written, BrokerProcess]) -> None:
    """Its last batch is known when it comes again, its next one fits, one out of order does not."""
    left, kbroker = shared
    ((producer_id, epoch, last_sequence, *_),) = left.seen.producers["idempotent", 0]
    here = ("idempotent", 0)
    async with await connected(kbroker) as broker:
        end = await broker.offset_at("idempotent", -1)
        # As the workload sent it: three records in each batch.
        again = Producer(producer_id, epoch, None, {here: last_sequence - 2})
        same = [record(BEGINNING_MS, b"k", b"v")] * 3
        assert await broker.produce("idempotent", same, producer=again) == end - 3
        assert await broker.offset_at("idempotent", -1) == end
        assert await broker.produce("idempotent", same, producer=again) == end
        ahead = Producer(producer_id, epoch, None, {here: last_sequence + 20})
        with pytest.raises(ApiError) as refusal:
            await broker.produce("idempotent", same, producer=ahead)
    assert refusal.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


async def test_new_producers_get_ids_that_nobody_had(shared: tuple[Written, BrokerProcess]) -> None:
    left, kbroker = shared
    used = {row[0] for producers in left.seen.producers.values() for row in producers}
    used |= {producer_id for _, producer_id, *_ in left.seen.transactions.values()}
    async with await connected(kbroker) as broker:
        found = {(await broker.producer()).producer_id, (await broker.producer("new")).producer_id}
    assert min(found) > max(used)


async def test_a_transactional_producer_goes_on(shared: tuple[Written, BrokerProcess]) -> None:
    """With the epoch that it had; a new one of the same id fences it."""
    left, kbroker = shared
    producer = continued(left.seen, "commits-and-aborts")
    async with await connected(kbroker) as broker:
        before = len(await broker.fetch("transactional", committed=True))
        one = [record(BEGINNING_MS, b"more", b"more")]
        await broker.produce("transactional", one, producer=producer)
        await broker.end_transaction(producer, commit=True)
        with trio.fail_after(30):
            while len(await broker.fetch("transactional", committed=True)) == before:  # noqa: ASYNC110
                await trio.sleep(0.02)
        successor = await broker.producer("commits-and-aborts")
        assert (successor.producer_id, successor.epoch) == (producer.producer_id, producer.epoch + 1)
        with pytest.raises(ApiError):
            await broker.produce("transactional", one, producer=producer)


@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
async def test_an_open_transaction_is_ended_by_its_producer(
    left: Written, own: BrokerProcess, commit: bool
) -> None:
    producer = continued(left.seen, "open")
    before = left.seen.committed["transactional", 1]
    async with await connected(own) as broker:
        assert await open_since(broker) >= 0
        await broker.end_transaction(producer, commit=commit)
        await until_none_is_open(broker)
        after = await broker.fetch("transactional", partition=1, committed=True)
    assert [found.value for found in after[len(before) :]] == ([b"open"] if commit else [])


async def test_an_open_transaction_is_aborted_by_its_successor(left: Written, own: BrokerProcess) -> None:
    before = left.seen.committed["transactional", 1]
    async with await connected(own) as broker:
        successor = await broker.producer("open")
        await until_none_is_open(broker)
        one = [record(BEGINNING_MS, b"next", b"next")]
        await broker.produce("transactional", one, partition=1, producer=successor)
        await broker.end_transaction(successor, commit=True)
        await until_none_is_open(broker)
        after = await broker.fetch("transactional", partition=1, committed=True)
    assert [found.value for found in after[len(before) :]] == [b"next"]


async def open_since(broker: Operations) -> int:
    """Where the open transaction in the partition begins that all these are about, -1 if there is none."""
    return max(row[-1] for row in await producers_of(broker, "transactional", 1))


async def until_none_is_open(broker: Operations) -> None:
    """EndTxn is answered before the markers are written."""
    with trio.fail_after(30):
        while await open_since(broker) >= 0:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_members_of_groups_stay(shared: tuple[Written, BrokerProcess]) -> None:
    """They commit with the member id and generation that they had; a static member comes back as itself."""
    left, kbroker = shared
    _, _, ((member_id, _, _),) = left.seen.groups["joined"]
    async with await connected(kbroker) as broker:
        await broker.commit("joined", {("segments", 0): 6}, member=(member_id, 1))
        assert (await broker.committed("joined"))["segments", 0] == (6, "")
        _, generation = await broker.join("static", SUBSCRIPTION, instance_id="instance")
    assert generation == 1


async def test_the_cluster_can_be_changed_and_started_again(left: Written, own: BrokerProcess) -> None:
    """What kbroker was told afterwards is not undone by another import."""
    async with await connected(own) as broker:
        await broker.create_topic("made-here", 2)
        await broker.produce("made-here", [record(BEGINNING_MS, b"key", b"value")])
        await broker.delete_topic("sparse")
        before = await observe(broker)
    assert TOOK_OVER in own.stderr
    own.terminate()
    own.start()
    assert TOOK_OVER not in own.stderr
    async with await connected(own) as broker:
        after = await observe(broker)
    assert "sparse" not in after.topics
    assert after == before


async def test_what_is_not_carried_over_is_said(untouched: tuple[Written, BrokerProcess]) -> None:
    """Once, and nothing else is complained about."""
    left, kbroker = untouched
    told = sorted(line.partition(NOT_CARRIED)[2] for line in kbroker.stderr_lines if NOT_CARRIED in line)
    assert told == ([] if "grown" not in left.seen.topics else ["SCRAM credentials: 1"])
    assert kbroker.stderr.count(TOOK_OVER) == 1
    assert "stray" not in kbroker.stderr
    assert not [line for line in kbroker.stderr_lines if " ERROR " in line]


async def test_three_brokers_in_one_process(left: Written, contestants: Callable[[str], Contestant]) -> None:
    """The first one's directory is Apache Kafka's; the others join."""
    contestant = contestants(KBROKER)
    process = BrokerProcess(
        left.data_dir,
        port=0,
        arguments=["--brokers", "3"],
        overrides={"listeners": "PLAINTEXT://127.0.0.1:0", "group.initial.rebalance.delay.ms": 0},
        command=contestant.command,
    )
    with process as broker:
        broker.start(deadline_s=START_DEADLINE_S)
        async with await connected(broker) as operations:
            found = await observe(operations)
    assert found == left.seen


def test_kbroker_does_not_start_where_apache_kafka_runs(killed_kafka: KilledKafka) -> None:
    assert "is in use" in str(killed_kafka.refusal)
    assert killed_kafka.refusal.exit_code == 1


def test_apache_kafka_does_not_start_where_kbroker_runs(
    written: Callable[[str], Written], contestants: Callable[[str], Contestant], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(written(APACHE_KAFKA).data_dir, data_dir)
    with (
        contestants(KBROKER).broker(data_dir) as running,
        contestants(APACHE_KAFKA).broker(data_dir) as refused,
    ):
        running.start(deadline_s=START_DEADLINE_S)
        with pytest.raises(BrokerStartError) as refusal:
            refused.start(deadline_s=START_DEADLINE_S)
    assert refusal.value.exit_code not in (0, None)
