"""kafka-transactions against a broker: open, ended and hanging transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from kbroker.tools import transactions
from kbroker.tools.cluster import Cluster
from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import Producer, producing
from kbroker.tools.session import CommandError, Connected
from tests.broker_process import BrokerProcess
from tests.tools.command_line import run_command
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    overrides = {
        "transaction.state.log.num.partitions": 1,
        "offsets.topic.num.partitions": 1,
        "num.partitions": 1,
    }
    with BrokerProcess(tmp_path_factory.mktemp("broker"), overrides=overrides) as process:
        yield process.start()


async def transactions_command(cluster: Cluster, *flags: str) -> None:
    options = transactions.arguments().parse_args(["--bootstrap-server", "unused:1", *flags])
    await transactions.TransactionsCommand(cluster, options).run()


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The printed table without its header; each cell is followed by a tab."""
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith("\t") for line in lines)
    return [[cell.strip() for cell in line.split("\t")[:-1]] for line in lines[1:]]


async def create(cluster: Cluster, topic: str) -> None:
    wanted = CreateTopicsRequest.CreatableTopic(name=topic, num_partitions=1, replication_factor=1)
    response = await cluster.controller(
        CreateTopicsRequest(topics=[wanted], timeout_ms=5000), CreateTopicsResponse
    )
    assert response.topics[0].error_code == 0


@asynccontextmanager
async def open_transaction(cluster: Cluster, topic: str, transactional_id: str):  # type: ignore[no-untyped-def]
    settings = ProducerSettings(transactional_id=transactional_id)
    async with producing(cluster, settings) as producer:
        await producer.init_transactions()
        await producer.send(topic, None, b"v")
        await producer.flush()
        yield producer


async def test_an_open_and_a_committed_transaction(
    broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await create(cluster, "open")
        async with open_transaction(cluster, "open", "first") as producer:
            assert isinstance(producer, Producer)
            await transactions_command(cluster, "list", "--transactional-id-pattern", "fir.*")
            ((name, coordinator, producer_id, state),) = rows(capsys)
            assert (name, coordinator, state) == ("first", "1", "Ongoing")
            await transactions_command(cluster, "describe", "--transactional-id", "first")
            (row,) = rows(capsys)
            assert row[:3] == ["1", "first", producer_id]
            assert row[4:6] == ["Ongoing", "60000"]
            assert 0 <= int(row[7]) < 10_000
            assert row[8] == "open-0"
            await transactions_command(cluster, "describe-producers", "--topic", "open", "--partition", "0")
            ((shown_id, _, coordinator_epoch, sequence, _, start),) = rows(capsys)
            assert (shown_id, coordinator_epoch, sequence, start) == (producer_id, "-1", "0", "0")
            await transactions_command(cluster, "list", "--duration-filter", "600000")
            assert rows(capsys) == []
            await producer.commit()
        with trio.fail_after(5):
            while True:
                await transactions_command(cluster, "describe", "--transactional-id", "first")
                ((*_, state_now, _, _, _, partitions),) = rows(capsys)
                if state_now == "CompleteCommit":
                    break
        assert partitions == ""
        await transactions_command(cluster, "describe-producers", "--topic", "open", "--partition", "0")
        assert rows(capsys)[0][-1] == "None"


async def test_a_transaction_is_aborted_where_it_hangs(
    broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await create(cluster, "hanging")
        async with open_transaction(cluster, "hanging", "second"):
            at = ["--topic", "hanging", "--partition", "0"]
            # It is old enough, and yet its coordinator will end it.
            await transactions_command(cluster, "find-hanging", *at, "--max-transaction-timeout", "-1")
            assert rows(capsys) == []
            with pytest.raises(
                CommandError,
                match="Could not find any open transactions starting at offset 9 on partition hanging-0",
            ):
                await transactions_command(cluster, "abort", *at, "--start-offset", "9")
            await transactions_command(cluster, "abort", *at, "--start-offset", "0")
            await transactions_command(cluster, "describe-producers", *at)
            assert rows(capsys)[0][-1] == "None"
        committed_only = ConsumerSettings.from_properties({"isolation.level": "read_committed"})
        async with consuming(cluster, committed_only, offsets={("hanging", 0): EARLIEST}) as consumer:
            assert await consumer.next(0.5) is None


async def test_a_transaction_is_terminated_by_its_id(
    broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Connected(broker.bootstrap_server, {}) as cluster:
        await create(cluster, "terminated")
        async with open_transaction(cluster, "terminated", "third"):
            await transactions_command(cluster, "forceTerminateTransaction", "--transactionalId", "third")
            at = ["--topic", "terminated", "--partition", "0"]
            with trio.fail_after(5):
                while True:
                    await transactions_command(cluster, "describe-producers", *at)
                    if rows(capsys)[0][-1] == "None":
                        return


def test_errors_and_exit_codes(broker: BrokerProcess) -> None:
    server = ["--bootstrap-server", broker.bootstrap_server]
    ended = run_command("transactions", *server, "list")
    assert ended.code == 0
    assert ended.out.startswith("TransactionalId\tCoordinator\tProducerId\tTransactionState\t\n")
    ended = run_command("transactions", *server, "describe", "--transactional-id", "absent")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "Failed to describe transaction state of transactional-id `absent`: DescribeTransactions request for "
        "transactionalId `absent` failed because the ID could not be found. Enable debug logging for additional "
        "detail.\n"
    )
    ended = run_command("transactions", *server, "abort", "--topic", "t", "--partition", "0")
    assert ended.code == 1
    assert ended.err.startswith("The transaction to abort must be identified either with --start-offset")
    ended = run_command("transactions", *server, "find-hanging")
    assert ended.err.startswith("The `find-hanging` command requires either --topic or --broker-id")
    assert run_command("transactions", "list").code == 1


def test_table() -> None:
    assert transactions.table(("a", "bb"), [("ccc", "d")]) == "a  \tbb\t\nccc\td \t"
