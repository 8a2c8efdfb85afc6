"""Transactional batches in Produce: what is verified with whom, and what the producer is told (KIP-890)."""

from __future__ import annotations

import ast
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import kbroker
import storage
from kbroker.handlers.produce import ProduceHandlers
from kbroker.handlers.table import LaterResponse
from kbroker.handlers.transaction_verification import SupportedOperation
from kbroker.replication.replica_manager import ReplicaManager
from storage.filesystem import OsFilesystem
from storage.log_config import LogConfig
from storage.log_manager import LogManager
from storage.producer_append import AppendOrigin
from tests.kbroker.handlers.fake_transactions import FakeTransactions, Settings, TrioTime, verifier_of
from tests.kbroker.handlers.requests import context_of
from tests.running_broker import batch
from wire.errors import ApiError, ErrorCode
from wire.messages.produce import ProduceRequest, ProduceResponse
from wire.records import build_end_transaction_marker

TOPIC_ID = uuid.UUID(int=3)
NOW_MS = 1_700_000_000_000
PRODUCER = 7
PARTITIONS = 3
LATEST = 13
Answer = ProduceResponse.TopicProduceResponse.PartitionProduceResponse


@dataclass(frozen=True)
class State:
    leader: int = 1
    leader_epoch: int = 0
    replicas: tuple[int, ...] = (1,)
    in_sync_replicas: tuple[int, ...] = (1,)

    @property
    def partition_epoch(self) -> int:
        """Rises as replicas are added, and as they leave the in-sync set."""
        return 2 * len(self.replicas) - len(self.in_sync_replicas)


class Subject:
    """Produce on a real topic ``t`` of three partitions, with a coordinator that a test speaks for."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings()
        self.logs = LogManager(
            [str(directory)],
            filesystem=OsFilesystem(),
            clock_ms=lambda: NOW_MS,
            random_uuid=uuid.uuid4,
            random_below=random.Random(1).randrange,
            requires_verification=lambda: self.settings.transaction_partition_verification_enable,
        )
        self.logs.open(node_id=1)
        self.logs.load(lambda topic: LogConfig())
        self.replicas = ReplicaManager(
            node_id=1, log_manager=self.logs, on_no_directory_left=lambda failure: pytest.fail(str(failure))
        )
        self.replicas.apply_topic(
            "t",
            TOPIC_ID,
            [(index, State()) for index in range(PARTITIONS)],
            config=LogConfig(),
            min_in_sync_replicas=1,
        )
        self.transactions = FakeTransactions()
        self.handlers = ProduceHandlers(
            partitions=self.replicas,
            verifier=verifier_of(self.replicas, self.transactions, self.settings),
            settings=self.settings,
            world=TrioTime(),
        )

    async def produce(
        self,
        records: dict[int, bytearray],
        *,
        version: int = LATEST,
        transactional_id: str | None = "tx",
        acks: int = -1,
    ) -> dict[int, Answer]:
        request = ProduceRequest(
            transactional_id=transactional_id,
            acks=acks,
            timeout_ms=1000,
            topic_data=[
                ProduceRequest.TopicProduceData(
                    name="t",
                    topic_id=TOPIC_ID,
                    partition_data=[
                        ProduceRequest.TopicProduceData.PartitionProduceData(
                            index=index, records=memoryview(data)
                        )
                        for index, data in records.items()
                    ],
                )
            ],
        )
        response = await self.handlers.produce(request, context_of(0, version))
        assert not isinstance(response, LaterResponse)
        assert response is not None
        return {answer.index: answer for answer in response.responses[0].partition_responses}

    async def code(self, data: bytearray | None = None, **arguments: Any) -> ErrorCode:
        answers = await self.produce({0: data or transactional()}, **arguments)
        return ErrorCode(answers[0].error_code)

    def end(self, epoch: int = 0, *, index: int = 0, version: int = 0, commit: bool = True) -> None:
        self.replicas.leader("t", index).append_as_leader(
            build_end_transaction_marker(
                base_offset=0,
                timestamp_ms=NOW_MS,
                producer_id=PRODUCER,
                producer_epoch=epoch,
                is_commit=commit,
                coordinator_epoch=0,
            ),
            required_acks=-1,
            origin=AppendOrigin.COORDINATOR,
            transaction_version=version,
        )

    def end_offset(self, index: int = 0) -> int:
        return self.replicas.leader("t", index).log_end_offset


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path)
    yield subject
    subject.logs.close()


def transactional(sequence: int = 0, epoch: int = 0, producer_id: int = PRODUCER) -> bytearray:
    return batch(
        b"v",
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        is_transactional=True,
    )


@pytest.mark.parametrize("version", range(3, LATEST + 1))
async def test_the_coordinator_verifies_or_adds_the_partition_by_version(
    subject: Subject, version: int
) -> None:
    answers = await subject.produce({0: transactional(), 2: transactional()}, version=version)
    assert [(answer.error_code, answer.base_offset) for answer in answers.values()] == [(0, 0), (0, 0)]
    adds = version >= 12
    assert subject.transactions.asked == [
        ("tx", (PRODUCER, 0), [("t", 0), ("t", 2)], not adds, 2 if adds else 0)
    ]


async def test_the_coordinator_is_asked_once_for_a_transaction(subject: Subject) -> None:
    for sequence in range(3):
        assert await subject.code(transactional(sequence)) is ErrorCode.NONE
    assert len(subject.transactions.asked) == 1
    subject.end()
    assert await subject.code(transactional(3)) is ErrorCode.NONE
    assert len(subject.transactions.asked) == 2


async def test_only_partitions_that_need_it_are_asked_about(subject: Subject) -> None:
    await subject.produce({0: transactional()})
    answers = await subject.produce(
        {0: transactional(1), 1: batch(b"plain"), 2: transactional(0)}, version=LATEST
    )
    assert {answer.error_code for answer in answers.values()} == {0}
    assert [asked.partitions for asked in subject.transactions.asked] == [[("t", 0)], [("t", 2)]]


async def test_requests_without_transactional_batches_ask_nobody(subject: Subject) -> None:
    idempotent = batch(b"v", producer_id=PRODUCER, producer_epoch=0, base_sequence=0)
    assert await subject.code(idempotent) is ErrorCode.NONE
    assert await subject.code(batch(b"v"), transactional_id=None) is ErrorCode.NONE
    assert subject.transactions.asked == []


async def test_a_transactional_batch_needs_a_transactional_id(subject: Subject) -> None:
    answers = await subject.produce({0: transactional(), 1: batch(b"plain")}, transactional_id=None)
    code = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert {answer.error_code for answer in answers.values()} == {code}
    assert subject.end_offset(0) == subject.end_offset(1) == 0


@pytest.mark.parametrize("other", [transactional(producer_id=8), transactional(epoch=1)])
async def test_one_request_one_producer(subject: Subject, other: bytearray) -> None:
    answers = await subject.produce({0: transactional(), 1: other, 2: batch(b"plain")})
    assert {answer.error_code for answer in answers.values()} == {ErrorCode.INVALID_PRODUCER_ID_MAPPING}
    assert [subject.end_offset(index) for index in range(PARTITIONS)] == [0, 0, 0]


async def test_partitions_are_refused_one_by_one(subject: Subject) -> None:
    subject.transactions.refused = {("t", 1): ErrorCode.INVALID_TXN_STATE}
    answers = await subject.produce({0: transactional(), 1: transactional(), 2: batch(b"plain")})
    assert [answer.error_code for answer in answers.values()] == [0, ErrorCode.INVALID_TXN_STATE, 0]
    refused = answers[1]
    assert (refused.base_offset, refused.log_start_offset) == (-1, -1)
    assert refused.error_message == "the partition was not added to the transaction"
    assert [subject.end_offset(index) for index in range(PARTITIONS)] == [1, 0, 1]


async def test_a_fenced_producer_is_refused_without_asking(subject: Subject) -> None:
    subject.end(5)
    assert await subject.code(transactional(epoch=4)) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert subject.transactions.asked == []


async def test_an_unknown_partition_is_not_asked_about(subject: Subject) -> None:
    answers = await subject.produce({9: transactional()})
    assert answers[9].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert subject.transactions.asked == []


# What the producer is told

DEFAULT, GENERIC, ADD = 10, 11, 12
RETRIABLE = ErrorCode.NOT_ENOUGH_REPLICAS


@pytest.mark.parametrize(
    ("answer", "by_version"),
    [
        (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, {DEFAULT: RETRIABLE, GENERIC: RETRIABLE, ADD: RETRIABLE}),
        (ErrorCode.COORDINATOR_NOT_AVAILABLE, {DEFAULT: RETRIABLE, GENERIC: RETRIABLE, ADD: RETRIABLE}),
        (ErrorCode.NOT_COORDINATOR, {DEFAULT: RETRIABLE, GENERIC: RETRIABLE, ADD: RETRIABLE}),
        (ErrorCode.NETWORK_EXCEPTION, {DEFAULT: RETRIABLE, GENERIC: RETRIABLE, ADD: RETRIABLE}),
        (
            ErrorCode.TRANSACTION_ABORTABLE,
            {
                DEFAULT: ErrorCode.INVALID_TXN_STATE,
                GENERIC: ErrorCode.TRANSACTION_ABORTABLE,
                ADD: ErrorCode.TRANSACTION_ABORTABLE,
            },
        ),
        (ErrorCode.PRODUCER_FENCED, dict.fromkeys((DEFAULT, GENERIC, ADD), ErrorCode.INVALID_PRODUCER_EPOCH)),
        (
            ErrorCode.INVALID_PRODUCER_ID_MAPPING,
            dict.fromkeys((DEFAULT, GENERIC, ADD), ErrorCode.INVALID_PRODUCER_ID_MAPPING),
        ),
        (
            ErrorCode.INVALID_PRODUCER_EPOCH,
            dict.fromkeys((DEFAULT, GENERIC, ADD), ErrorCode.INVALID_PRODUCER_EPOCH),
        ),
    ],
)
async def test_the_coordinators_answer_in_the_words_of_the_version(
    subject: Subject, answer: ErrorCode, by_version: dict[int, ErrorCode]
) -> None:
    for version, expected in by_version.items():
        subject.transactions.answers = [answer]
        assert await subject.code(version=version) is expected, version
    assert subject.end_offset() == 0


@pytest.mark.parametrize(
    ("version", "expected"),
    [(DEFAULT, RETRIABLE), (GENERIC, RETRIABLE), (ADD, ErrorCode.CONCURRENT_TRANSACTIONS)],
)
async def test_a_transaction_that_is_still_ending_is_waited_for_but_not_for_long(
    subject: Subject, autojump_clock: MockClock, version: int, expected: ErrorCode
) -> None:
    subject.transactions.answers = [ErrorCode.CONCURRENT_TRANSACTIONS] * 2
    begun = trio.current_time()
    assert await subject.code(version=version) is ErrorCode.NONE
    assert trio.current_time() - begun == pytest.approx(0.04)
    subject.end()
    subject.transactions.answers = [ErrorCode.CONCURRENT_TRANSACTIONS] * 100
    begun = trio.current_time()
    assert await subject.code(transactional(1), version=version) is expected
    assert trio.current_time() - begun == pytest.approx(0.1)


async def test_a_marker_that_comes_while_the_coordinator_answers_makes_the_append_fail(
    subject: Subject,
) -> None:
    original = subject.transactions.add_partitions

    async def add_partitions(*arguments: Any, **named: Any) -> Any:
        answer = await original(*arguments, **named)
        subject.end()
        return answer

    subject.transactions.add_partitions = add_partitions  # type: ignore[method-assign]
    assert await subject.code(version=GENERIC) is ErrorCode.INVALID_TXN_STATE
    assert subject.end_offset() == 1


async def test_verification_can_be_switched_off_for_clients_that_add_partitions(subject: Subject) -> None:
    subject.settings.transaction_partition_verification_enable = False
    assert await subject.code(version=GENERIC) is ErrorCode.NONE
    assert subject.transactions.asked == []
    assert await subject.code(transactional(0, 1), version=ADD) is ErrorCode.NONE
    assert [asked.verify_only for asked in subject.transactions.asked] == [False]


async def test_a_coordinator_that_raises_is_an_answer_for_every_partition(subject: Subject) -> None:
    async def add_partitions(*arguments: Any, **named: Any) -> Any:
        raise ApiError(ErrorCode.NOT_COORDINATOR)

    subject.transactions.add_partitions = add_partitions  # type: ignore[method-assign]
    answers = await subject.produce({0: transactional(), 1: transactional()})
    assert {answer.error_code for answer in answers.values()} == {RETRIABLE}


async def test_a_malformed_batch_fails_its_own_partition(subject: Subject) -> None:
    damaged = transactional()
    damaged[-1] ^= 1
    answers = await subject.produce({0: damaged, 1: transactional()})
    assert [answer.error_code for answer in answers.values()] == [ErrorCode.CORRUPT_MESSAGE, 0]


def test_versions_and_what_they_can_do() -> None:
    assert [SupportedOperation.of_produce(version).name for version in (3, 10, 11, 12, 13)] == [
        "DEFAULT_ERROR",
        "DEFAULT_ERROR",
        "GENERIC_ERROR",
        "ADD_PARTITION",
        "ADD_PARTITION",
    ]
    assert [SupportedOperation.of_offset_commit(version).name for version in (0, 3, 4, 5)] == [
        "DEFAULT_ERROR",
        "DEFAULT_ERROR",
        "GENERIC_ERROR",
        "ADD_PARTITION",
    ]


# An idempotent producer gives up at UNKNOWN_SERVER_ERROR: the sequence of what it lost can never be repaired.


def codes_named_in(*paths: Path) -> set[ErrorCode]:
    """Every ErrorCode that these modules can utter."""
    return {
        ErrorCode[node.attr]
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "ErrorCode"
    }


def modules_under(package: Any, folder: str = "") -> list[Path]:
    return sorted((Path(package.__file__).parent / folder).glob("*.py"))


PRODUCE_PATH = [
    *modules_under(storage),
    *modules_under(kbroker, "replication"),
    Path(kbroker.__file__).parent / "handlers" / "produce.py",
]


def test_nothing_on_the_way_of_a_produce_can_say_unknown_server_error() -> None:
    assert ErrorCode.UNKNOWN_SERVER_ERROR not in codes_named_in(*PRODUCE_PATH)


@pytest.mark.parametrize("code", sorted(codes_named_in(*PRODUCE_PATH)), ids=lambda code: code.name)
async def test_an_idempotent_producer_never_receives_unknown_server_error_from_the_log(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, code: ErrorCode
) -> None:
    partition = subject.replicas.leader("t", 0)

    def fail(*_: object, **__: object) -> None:
        raise ApiError(code)

    idempotent = batch(b"v", producer_id=PRODUCER, producer_epoch=0, base_sequence=0)
    for method in ("append_as_leader", "is_committed", "ensure_leader"):
        with monkeypatch.context() as patch:
            patch.setattr(partition, method, fail)
            assert await subject.code(idempotent) is code, method
    with monkeypatch.context() as patch:
        patch.setattr(partition, "start_transaction_verification", fail)
        assert await subject.code() not in (ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NONE)


@pytest.mark.parametrize("code", [code for code in ErrorCode if code], ids=lambda code: code.name)
async def test_an_idempotent_producer_never_receives_unknown_server_error_from_the_coordinator(
    subject: Subject, code: ErrorCode
) -> None:
    subject.settings.add_partitions_to_txn_retry_backoff_max_ms = 0
    for version in (DEFAULT, GENERIC, ADD, LATEST):
        subject.transactions.answers = [code]
        answer = await subject.code(version=version)
        assert answer not in (ErrorCode.UNKNOWN_SERVER_ERROR, ErrorCode.NONE)
    assert subject.end_offset() == 0
