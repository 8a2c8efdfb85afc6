"""Idempotent and transactional producers for cases, as their broker knows them."""

from __future__ import annotations

from dataclasses import dataclass

from compat.coordinators import key_of_each_partition
from compat.wire.arrange import Topic
from compat.wire.logs import append, batch
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.groups import FindCoordinatorRequest, FindCoordinatorResponse
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse
from wire.messages.transactions import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    EndTxnRequest,
    EndTxnResponse,
)

TRANSACTION_TIMEOUT_MS = 60_000
TRANSACTIONS = 1
"""Key type of FindCoordinator."""
ENDED_STATES = ("Empty", "CompleteCommit", "CompleteAbort")
PASSING = (
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.NOT_COORDINATOR,
)
"""Answers that another moment changes."""


@dataclass
class Producer:
    """A producer's id and epoch on one broker; ``transactional_id`` is the same on both."""

    producer_id: int
    epoch: int
    transactional_id: str | None = None

    def batch(self, sequence: int, *values: bytes, epoch: int | None = None) -> bytearray:
        """The next records of the producer, transactional if it is."""
        return batch(
            *values,
            producer_id=self.producer_id,
            producer_epoch=self.epoch if epoch is None else epoch,
            base_sequence=sequence,
            is_transactional=self.transactional_id is not None,
        )


def idempotent(scene: Scene) -> Producer:
    """A producer without transactions."""
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=-1)
    answer = scene.until(
        lambda: scene.call(request, InitProducerIdResponse),
        lambda found: found.error_code not in PASSING,
        "a producer id",
    )
    assert answer.error_code == ErrorCode.NONE, answer
    return Producer(answer.producer_id, answer.producer_epoch)


def transactional(
    scene: Scene, prefix: str = "transaction", timeout_ms: int = TRANSACTION_TIMEOUT_MS
) -> Producer:
    """A producer with an initialised transactional id of the case's own."""
    name = scene.name(prefix)
    await_transactions(scene)
    answer = scene.until(
        lambda: scene.call(
            InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=timeout_ms),
            InitProducerIdResponse,
        ),
        lambda found: found.error_code not in PASSING,
        f"initialisation of {name}",
    )
    assert answer.error_code == ErrorCode.NONE, answer
    return Producer(answer.producer_id, answer.producer_epoch, name)


def await_transactions(scene: Scene) -> None:
    """Until there is a coordinator of transactions, all partitions of its topic are loaded, and it has producer ids."""

    def wait() -> bool:
        asked = FindCoordinatorRequest(coordinator_keys=["any"], key_type=TRANSACTIONS)
        scene.until(
            lambda: scene.call(asked, FindCoordinatorResponse).coordinators[0].error_code,
            lambda code: code == ErrorCode.NONE,
            "a coordinator of transactions",
        )
        scene.until(
            lambda: scene.call(
                DescribeTransactionsRequest(transactional_ids=key_of_each_partition()),
                DescribeTransactionsResponse,
            ),
            lambda answer: not any(state.error_code in PASSING for state in answer.transaction_states),
            "all coordinators of transactions",
        )
        idempotent(scene)
        return True

    scene.side.once("transactions topic", wait)


def begin(scene: Scene, producer: Producer, topic: Topic, *values: bytes, partition: int = 0) -> None:
    """Open a transaction (the newer way: Produce adds the partition) with a batch from sequence 0."""
    append(
        scene,
        topic,
        producer.batch(0, *values),
        partition=partition,
        transactional_id=producer.transactional_id,
    )


def begin_classic(scene: Scene, producer: Producer, topic: Topic, *values: bytes) -> None:
    """Open a transaction with AddPartitionsToTxn, then send a batch from sequence 0."""
    assert producer.transactional_id is not None
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=producer.transactional_id,
        v3_and_below_producer_id=producer.producer_id,
        v3_and_below_producer_epoch=producer.epoch,
        v3_and_below_topics=[
            AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(
                name=topic.name, partitions=list(range(topic.partitions))
            )
        ],
    )
    answer = scene.until(
        lambda: (
            scene.call(request, AddPartitionsToTxnResponse, version=3)
            .results_by_topic_v3_and_below[0]
            .results_by_partition[0]
            .partition_error_code
        ),
        lambda code: code not in PASSING,
        "adding partitions",
    )
    assert answer == ErrorCode.NONE, answer
    if values:
        append(scene, topic, producer.batch(0, *values), transactional_id=producer.transactional_id)


def end(scene: Scene, producer: Producer, *, commit: bool) -> None:
    """End the transaction the newer way, which gives the producer another epoch, and wait until it has ended."""
    assert producer.transactional_id is not None
    answer = scene.call(
        EndTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            committed=commit,
        ),
        EndTxnResponse,
    )
    assert answer.error_code == ErrorCode.NONE, answer
    producer.producer_id, producer.epoch = answer.producer_id, answer.producer_epoch
    wait_until_ended(scene, producer.transactional_id)


def wait_until_ended(scene: Scene, transactional_id: str) -> None:
    """Until the coordinator has written all markers."""
    request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
    scene.until(
        lambda: scene.call(request, DescribeTransactionsResponse).transaction_states[0].transaction_state,
        lambda state: state in ENDED_STATES,
        f"the end of {transactional_id}'s transaction",
    )
