"""kafka-transactions: transactions that are open, ended, hanging and terminated by force."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
import trio
from confluent_kafka import KafkaException, Producer

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools
from kbroker.tools.cluster import Cluster
from kbroker.tools.session import Connected
from wire.errors import ApiError, ErrorCode
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import Record, build_batch

LOST_PRODUCER_ID = 4_711_000_000
TWENTY_MINUTES_MS = 20 * 60 * 1_000
DEADLINE_S = 30.0
BEFORE_TRANSACTIONS_V2 = 11
"""The last version of Produce whose partitions are not added to the transaction by the broker."""
UNVERIFIED = ErrorCode.INVALID_PRODUCER_ID_MAPPING
"""What a coordinator that is asked says of a producer that it does not know."""


def _table(printed: str) -> list[dict[str, str]]:
    """kafka-transactions ends each cell with a tab."""
    header, *rows = [[cell.strip() for cell in line.split("\t")[:-1]] for line in printed.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


class OpenTransaction:
    """A transaction with one record in a topic of one partition."""

    def __init__(self, tools: Tools, topic: str, transactional_id: str) -> None:
        self.topic = topic
        self.transactional_id = transactional_id
        self.producer = Producer(
            {
                "bootstrap.servers": tools.bootstrap_servers,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 300_000,
            }
        )
        self.producer.init_transactions(DEADLINE_S)
        self.producer.begin_transaction()
        self.producer.produce(topic, b"value")
        assert self.producer.flush(DEADLINE_S) == 0


@pytest.fixture
def opened(tools: Tools, new_topic: NewTopic, unique_name: UniqueName) -> OpenTransaction:
    return OpenTransaction(tools, new_topic(), unique_name("transactional"))


@pytest.fixture
def unverified(tools: Tools) -> Iterator[None]:
    """Partitions take transactional batches without asking the coordinator, as before KIP-890."""
    key = "transaction.partition.verification.enable"
    tools("kafka-configs", "--broker-defaults", "--alter", f"--add-config={key}=false")
    yield
    tools("kafka-configs", "--broker-defaults", "--alter", f"--delete-config={key}")


def _row_of(tools: Tools, transactional_id: str) -> dict[str, str] | None:
    rows = _table(tools("kafka-transactions", "list"))
    found = [row for row in rows if row["TransactionalId"] == transactional_id]
    assert len(found) <= 1
    return found[0] if found else None


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def test_an_open_transaction_is_seen_and_one_that_ended(tools: Tools, opened: OpenTransaction) -> None:
    line = ("kafka-transactions", "describe", "--transactional-id", opened.transactional_id)
    producers = ("kafka-transactions", "describe-producers", "--topic", opened.topic, "--partition=0")

    listed = _row_of(tools, opened.transactional_id)
    (described,) = _table(tools(*line))
    (producer,) = _table(tools(*producers))
    opened.producer.commit_transaction(DEADLINE_S)

    assert listed is not None
    assert listed["TransactionState"] == described["TransactionState"] == "Ongoing"
    assert listed["ProducerId"] == described["ProducerId"] == producer["ProducerId"]
    assert described["TopicPartitions"] == f"{opened.topic}-0"
    assert described["TransactionTimeoutMs"] == "300000"
    assert int(described["TransactionDurationMs"]) >= 0
    assert (producer["LastSequence"], producer["CurrentTransactionStartOffset"]) == ("0", "0")
    _wait_for(lambda: (_row_of(tools, opened.transactional_id) or {})["TransactionState"] == "CompleteCommit")
    (described,) = _table(tools(*line))
    (producer,) = _table(tools(*producers))
    assert described["TopicPartitions"] == ""
    assert producer["CurrentTransactionStartOffset"] == "None"
    assert producer["LatestCoordinatorEpoch"] != "-1"


def test_lists_are_filtered(tools: Tools, opened: OpenTransaction) -> None:
    def listed(*filters: str) -> bool:
        rows = _table(tools("kafka-transactions", "list", *filters))
        return opened.transactional_id in [row["TransactionalId"] for row in rows]

    assert listed(f"--transactional-id-pattern={opened.transactional_id[:-1]}.")
    assert not listed("--transactional-id-pattern=nobody")
    assert not listed("--duration-filter=3600000")
    opened.producer.abort_transaction(DEADLINE_S)


def test_a_transaction_is_aborted_at_its_start(tools: Tools, opened: OpenTransaction) -> None:
    line = ("kafka-transactions", "abort", "--topic", opened.topic, "--partition=0")

    nothing_there = tools.refused(*line, "--start-offset=7")
    tools(*line, "--start-offset=0")
    (producer,) = _table(
        tools("kafka-transactions", "describe-producers", "--topic", opened.topic, "--partition=0")
    )

    assert "Could not find any open transactions starting at offset 7" in nothing_there
    assert producer["CurrentTransactionStartOffset"] == "None"
    # A batch and the marker.
    assert tools("kafka-get-offsets", "--topic", opened.topic) == f"{opened.topic}:0:2\n"
    opened.producer.abort_transaction(DEADLINE_S)


def test_a_transaction_is_terminated_by_its_id(tools: Tools, opened: OpenTransaction) -> None:
    producers = ("kafka-transactions", "describe-producers", "--topic", opened.topic, "--partition=0")

    tools("kafka-transactions", "forceTerminateTransaction", "--transactionalId", opened.transactional_id)

    _wait_for(lambda: (_row_of(tools, opened.transactional_id) or {})["TransactionState"] == "Empty")
    (producer,) = _table(tools(*producers))
    assert producer["CurrentTransactionStartOffset"] == "None"
    with pytest.raises(KafkaException, match="fenced"):
        opened.producer.commit_transaction(DEADLINE_S)
    read = tools.run(
        "kafka-console-consumer",
        "--topic",
        opened.topic,
        "--from-beginning",
        "--timeout-ms=1500",
        "--isolation-level=read_committed",
    )
    assert read.stdout == ""
    assert "Processed a total of 0 messages" in read.stderr


@pytest.mark.usefixtures("unverified")
def test_a_hanging_transaction_is_found_and_ended(tools: Tools, new_topic: NewTopic) -> None:
    """A batch of a transaction that no coordinator knows holds the last stable offset until it is aborted."""
    topic = new_topic()
    # The broker may still be about to take in that it need not ask the coordinator.
    _wait_for(lambda: trio.run(_leave_hanging, tools.bootstrap_servers, topic) != UNVERIFIED)
    tools("kafka-console-producer", "--topic", topic, stdin="behind it\n")
    read_committed = (
        "kafka-console-consumer",
        "--topic",
        topic,
        "--from-beginning",
        "--isolation-level=read_committed",
    )

    held = tools(*read_committed, "--timeout-ms=1500")
    found = _table(tools("kafka-transactions", "find-hanging", "--topic", topic))
    by_broker = tools("kafka-transactions", "find-hanging", f"--broker-id={_broker_id(tools)}")
    tools(
        "kafka-transactions",
        "abort",
        "--topic",
        topic,
        "--partition=0",
        f"--start-offset={found[0]['StartOffset']}",
    )
    freed = tools(*read_committed, "--max-messages=1")

    assert held == ""
    assert len(found) == 1
    assert (found[0]["Topic"], found[0]["Partition"], found[0]["ProducerId"], found[0]["StartOffset"]) == (
        topic,
        "0",
        str(LOST_PRODUCER_ID),
        "0",
    )
    assert int(found[0]["Duration(min)"]) >= 20
    assert topic in by_broker
    assert freed == "behind it\n"
    assert _table(tools("kafka-transactions", "find-hanging", "--topic", topic)) == []


def test_ids_that_nobody_knows(tools: Tools, unique_name: UniqueName) -> None:
    refusal = tools.refused("kafka-transactions", "describe", "--transactional-id", unique_name("nobody"))

    assert "because the ID could not be found" in refusal


def _broker_id(tools: Tools) -> str:
    (found,) = set(re.findall(r"\(id: (\d+) ", tools("kafka-broker-api-versions")))
    return str(found)


async def _leave_hanging(bootstrap_servers: str, topic: str) -> int:
    """Append a transactional batch of twenty minutes ago whose producer id nobody has given out.

    UNVERIFIED, or 0 when it is there; ApiError for any other refusal.
    """
    timestamp_ms = int(time.time() * 1_000) - TWENTY_MINUTES_MS
    batch = build_batch(
        [Record(offset=0, timestamp=timestamp_ms, key=None, value=b"lost", headers=())],
        base_offset=0,
        producer_id=LOST_PRODUCER_ID,
        producer_epoch=0,
        base_sequence=0,
        is_transactional=True,
    )
    async with Connected(bootstrap_servers, {}) as cluster:
        return await cluster.retrying(lambda: _append(cluster, topic, bytes(batch)))


async def _append(cluster: Cluster, topic: str, batch: bytes) -> int:
    (found,) = (await cluster.metadata([topic])).topics
    data = ProduceRequest.TopicProduceData(
        name=topic,
        topic_id=found.topic_id,
        partition_data=[ProduceRequest.TopicProduceData.PartitionProduceData(index=0, records=batch)],
    )
    request = ProduceRequest(transactional_id="lost", acks=-1, timeout_ms=30_000, topic_data=[data])
    response = await cluster.once(
        found.partitions[0].leader_id, request, ProduceResponse, version_max=BEFORE_TRANSACTIONS_V2
    )
    code = response.responses[0].partition_responses[0].error_code
    if code not in (0, UNVERIFIED):
        raise ApiError(ErrorCode(code))
    return code
