"""AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit: what a producer does in a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compat.wire.arrange import UNKNOWN_TOPIC_ID, Topic, standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.cases.group_offsets import look
from compat.wire.logs import append, ask_for_all, produce, unknown
from compat.wire.members import Member, at_generation, group_id, stable
from compat.wire.producers import (
    ENDED_STATES,
    PASSING,
    Producer,
    await_transactions,
    begin,
    begin_classic,
    end,
    transactional,
)
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.produce import ProduceRequest
from wire.messages.transactions import (
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

ADD_PARTITIONS_TO_TXN = Cases(AddPartitionsToTxnRequest)
ADD_OFFSETS_TO_TXN = Cases(AddOffsetsToTxnRequest)
END_TXN = Cases(EndTxnRequest)
TXN_OFFSET_COMMIT = Cases(TxnOffsetCommitRequest)
PRODUCE = Cases(ProduceRequest)

CLASSIC, NEWER = "0-4", "5+"
"""EndTxn before transactions of the newer kind, in which every transaction has an epoch of its own, and since."""
FOR_CLIENTS, FOR_BROKERS = "0-3", "4+"
"""Of AddPartitionsToTxn."""
NOBODY = "nobody-0d2a0d8e-4f0a-4d77-9f3f-6f4ad7a9d5c1"


def invented(at: Scene) -> Producer:
    """A transactional id that was never initialised."""
    await_transactions(at)
    return Producer(123_456_789, 0, at.name("invented"))


STRANGERS = {
    "a transactional id of nobody": invented,
    "another producer id": lambda at: other(transactional(at), id_offset=1_000_000),
    "an earlier epoch": lambda at: other(initialised_twice(at), epoch_offset=-1),
    "a later epoch": lambda at: other(transactional(at), epoch_offset=5),
    "an empty transactional id": lambda at: replace(invented(at), transactional_id=""),
}


def other(producer: Producer, id_offset: int = 0, epoch_offset: int = 0) -> Producer:
    return replace(
        producer, producer_id=producer.producer_id + id_offset, epoch=producer.epoch + epoch_offset
    )


def initialised_twice(at: Scene) -> Producer:
    transactional(at)
    return transactional(at)


def playground(at: Scene) -> Topic:
    """A topic for transactions that nobody ends: their time-out puts markers into it."""
    return at.side.once("playground", lambda: topic_with(at, 2, "playground"))


def look_at_transaction(at: Scene, transactional_id: str, *states: str) -> None:
    """Describe it once it is in one of ``states``."""
    at.ask_until(
        DescribeTransactionsRequest(transactional_ids=[transactional_id]),
        DescribeTransactionsResponse,
        lambda answer: answer.transaction_states[0].transaction_state in states,
        version=0,
    )


def add_partitions(
    version: int, producer: Producer, partitions: Mapping[str, tuple[int, ...]], *, verify_only: bool = False
) -> AddPartitionsToTxnRequest:
    assert producer.transactional_id is not None
    topics = [
        AddPartitionsToTxnRequest.AddPartitionsToTxnTopic(name=name, partitions=list(indexes))
        for name, indexes in partitions.items()
    ]
    if version < 4:
        return AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=producer.transactional_id,
            v3_and_below_producer_id=producer.producer_id,
            v3_and_below_producer_epoch=producer.epoch,
            v3_and_below_topics=topics,
        )
    transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        verify_only=verify_only,
        topics=topics,
    )
    return AddPartitionsToTxnRequest(transactions=[transaction])


@ADD_PARTITIONS_TO_TXN.case("partitions, and more of them")
def _adds(at: Scene) -> None:
    producer, topic = transactional(at), playground(at)
    at.ask(add_partitions(at.version, producer, {topic.name: (0,)}))
    at.ask(add_partitions(at.version, producer, {topic.name: (0, 1)}))
    look_at_transaction(at, str(producer.transactional_id), "Ongoing")


for what, stranger in STRANGERS.items():
    ADD_PARTITIONS_TO_TXN.add(
        what,
        lambda at, stranger=stranger: add_partitions(at.version, stranger(at), {playground(at).name: (0,)}),
    )
PARTITIONS = {
    "an unknown topic": lambda at: {at.name("absent"): (0,)},
    "an unknown partition": lambda at: {playground(at).name: (9,)},
    "a partition below zero": lambda at: {playground(at).name: (-1,)},
    "known and unknown partitions": lambda at: {playground(at).name: (0, 9), at.name("absent"): (0,)},
    "the topic of committed offsets": lambda at: group_id(at) and {"__consumer_offsets": (0,)},
    "a partition twice": lambda at: {playground(at).name: (0, 0)},
    "no partitions": lambda at: {playground(at).name: ()},
    "no topics": lambda at: {},
}
for what, partitions in PARTITIONS.items():
    ADD_PARTITIONS_TO_TXN.add(
        what,
        lambda at, partitions=partitions: add_partitions(at.version, transactional(at), partitions(at)),
    )


@ADD_PARTITIONS_TO_TXN.case("is it in the transaction", FOR_BROKERS)
def _verifies(at: Scene) -> None:
    producer, topic = transactional(at), playground(at)
    at.ask(add_partitions(at.version, producer, {topic.name: (0,)}, verify_only=True))
    at.ask(add_partitions(at.version, producer, {topic.name: (0,)}))
    at.ask(add_partitions(at.version, producer, {topic.name: (1, 0)}, verify_only=True))


@ADD_PARTITIONS_TO_TXN.case("two transactions", FOR_BROKERS)
def _two_transactions(at: Scene) -> None:
    requests = [
        add_partitions(at.version, producer, {playground(at).name: (0,)})
        for producer in (invented(at), transactional(at))
    ]
    at.ask(AddPartitionsToTxnRequest(transactions=[each.transactions[0] for each in requests]))


@ADD_PARTITIONS_TO_TXN.case("no transactions", "5")
def _no_transactions(at: Scene) -> None:
    at.send(AddPartitionsToTxnRequest(), over=at.connect()).answer(deadline_s=2)


def add_offsets(producer: Producer, group: str) -> AddOffsetsToTxnRequest:
    assert producer.transactional_id is not None
    return AddOffsetsToTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        group_id=group,
    )


@ADD_OFFSETS_TO_TXN.case("a group")
def _adds_offsets(at: Scene) -> None:
    producer, group = transactional(at), group_id(at)
    at.ask(add_offsets(producer, group))
    look_at_transaction(at, str(producer.transactional_id), "Ongoing")


for what, stranger in STRANGERS.items():
    ADD_OFFSETS_TO_TXN.add(what, lambda at, stranger=stranger: add_offsets(stranger(at), group_id(at)))
ADD_OFFSETS_TO_TXN.add(
    "a group without a name", lambda at: group_id(at) and add_offsets(transactional(at), "")
)


def end_txn(producer: Producer, *, commit: bool = True) -> EndTxnRequest:
    assert producer.transactional_id is not None
    return EndTxnRequest(
        transactional_id=producer.transactional_id,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        committed=commit,
    )


def opened(at: Scene) -> tuple[Producer, Topic]:
    """A transaction with two records in it, begun in the way of the version."""
    producer, topic = transactional(at), topic_with(at, 1)
    if at.version >= 5:
        begin(at, producer, topic, b"one", b"two")
    else:
        begin_classic(at, producer, topic, b"one", b"two")
    return producer, topic


for commit in (True, False):
    verb = "commit" if commit else "abort"

    @END_TXN.case(f"{verb}, and once again")
    def _ends(at: Scene, commit: bool = commit) -> None:
        producer, topic = opened(at)
        at.ask(end_txn(producer, commit=commit))
        look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
        ask_for_all(at, topic, read_committed=True)
        at.ask(end_txn(producer, commit=commit))

    @END_TXN.case(f"{verb}, and then the opposite")
    def _ends_otherwise(at: Scene, commit: bool = commit) -> None:
        producer, _ = opened(at)
        at.ask(end_txn(producer, commit=commit))
        look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
        at.ask(end_txn(producer, commit=not commit))

    END_TXN.add(f"{verb} nothing", lambda at, commit=commit: end_txn(transactional(at), commit=commit))
    for what, stranger in STRANGERS.items():
        END_TXN.add(
            f"{verb}: {what}",
            lambda at, stranger=stranger, commit=commit: end_txn(stranger(at), commit=commit),
        )


@END_TXN.case("a newer end of a transaction of old", NEWER)
def _newer_end(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    begin_classic(at, producer, topic, b"one")
    at.ask(end_txn(producer))
    look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
    ask_for_all(at, topic, read_committed=True)


@END_TXN.case("an old end of a newer transaction", CLASSIC)
def _older_end(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    begin(at, producer, topic, b"one")
    at.ask(end_txn(producer))
    look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
    ask_for_all(at, topic, read_committed=True)


@END_TXN.case("the second transaction of a producer", NEWER)
def _second(at: Scene) -> None:
    producer, topic = opened(at)
    end(at, producer, commit=True)
    append(at, topic, producer.batch(0, b"three"), transactional_id=producer.transactional_id)
    at.ask(end_txn(producer, commit=False))
    look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
    ask_for_all(at, topic, read_committed=True)


def commit_offsets(
    at: Scene,
    producer: Producer,
    group: str,
    topic: Topic,
    *,
    partition: int = 0,
    offset: int = 5,
    member: Member | None = None,
    metadata: str | None = "about",
) -> TxnOffsetCommitRequest:
    assert producer.transactional_id is not None
    by_id = at.version >= 6
    topics = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
    partitions = [
        topics.TxnOffsetCommitRequestPartition(
            partition_index=partition, committed_offset=offset, committed_metadata=metadata
        )
    ]
    request = TxnOffsetCommitRequest(
        transactional_id=producer.transactional_id,
        group_id=group,
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch,
        topics=[
            topics(topic_id=topic.topic_id, partitions=partitions)
            if by_id
            else topics(name=topic.name, partitions=partitions)
        ],
    )
    if member is not None:
        request.generation_id_or_member_epoch = member.generation
        request.member_id = member.member_id
        request.group_instance_id = member.instance_id
    return request


def with_group(at: Scene, group: str) -> Producer:
    """A producer in whose transaction the group is, as far as the version asks for that."""
    producer = transactional(at)
    if at.version < 5:
        answer = at.until(
            lambda: at.call(add_offsets(producer, group), AddOffsetsToTxnResponse).error_code,
            lambda code: code not in PASSING,
            "adding offsets",
        )
        assert answer == ErrorCode.NONE, answer
    return producer


for commit in (True, False):

    @TXN_OFFSET_COMMIT.case(f"offsets, {'committed' if commit else 'aborted'}")
    def _offsets(at: Scene, commit: bool = commit) -> None:
        group = group_id(at)
        producer = with_group(at, group)
        at.ask(commit_offsets(at, producer, group, standing_topic(at)))
        look(at, group)
        at.ask(end_txn(producer, commit=commit), version=5 if at.version >= 5 else 4)
        look_at_transaction(at, str(producer.transactional_id), *ENDED_STATES)
        look(at, group)


TXN_OFFSET_COMMIT.add(
    "a group that is not in the transaction",
    lambda at: commit_offsets(at, transactional(at), group_id(at), standing_topic(at)),
    "0-4",
)
for what, stranger in STRANGERS.items():
    TXN_OFFSET_COMMIT.add(
        what, lambda at, stranger=stranger: commit_offsets(at, stranger(at), group_id(at), standing_topic(at))
    )


def offsets_of(at: Scene, topic: Topic, **fields: object) -> TxnOffsetCommitRequest:
    group = group_id(at)
    return commit_offsets(at, with_group(at, group), group, topic, **fields)  # type: ignore[arg-type]


TXN_OFFSET_COMMIT.add(
    "an unknown topic", lambda at: offsets_of(at, unknown(UNKNOWN_TOPIC_ID, at.name("absent")))
)
TXN_OFFSET_COMMIT.add("an unknown partition", lambda at: offsets_of(at, standing_topic(at), partition=9))
TXN_OFFSET_COMMIT.add("an offset below zero", lambda at: offsets_of(at, standing_topic(at), offset=-1))
TXN_OFFSET_COMMIT.add("too much metadata", lambda at: offsets_of(at, standing_topic(at), metadata="m" * 4097))
TXN_OFFSET_COMMIT.add("null metadata", lambda at: offsets_of(at, standing_topic(at), metadata=None))
TXN_OFFSET_COMMIT.add(
    "a group without a name",
    lambda at: commit_offsets(at, with_group(at, group_id(at)), "", standing_topic(at)),
)
MEMBERS = {
    "a member": lambda member: member,
    "an unknown member": lambda member: replace(member, member_id=NOBODY),
    "a generation before": lambda member: at_generation(member, 0),
    "a generation to come": lambda member: at_generation(member, 9),
    "no generation": lambda member: at_generation(member, -1),
    "an unknown static member": lambda member: replace(member, instance_id="another"),
}
for what, change in MEMBERS.items():
    TXN_OFFSET_COMMIT.add(
        what,
        lambda at, change=change: offsets_of(at, standing_topic(at), member=change(stable(at, group_id(at)))),
        "3+",
    )
TXN_OFFSET_COMMIT.add(
    "a static member under an id that is not its own",
    lambda at: offsets_of(
        at,
        standing_topic(at),
        member=replace(stable(at, group_id(at), instance_id="instance"), member_id=NOBODY),
    ),
    "3+",
)
TXN_OFFSET_COMMIT.add(
    "nobody in a group with members",
    lambda at: stable(at, group_id(at)) and offsets_of(at, standing_topic(at)),
)

PRODUCE_VERSIONS = "3,9,11,12,13"
"""Before 12 a partition must have been added to the transaction."""


@PRODUCE.case("in a transaction of old", PRODUCE_VERSIONS)
def _produce_classic(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    begin_classic(at, producer, topic)
    for sequence in (0, 1, 1, 5):
        batch = producer.batch(sequence, b"x")
        at.ask(produce(at, topic, batch, transactional_id=producer.transactional_id))
    look_at_transaction(at, str(producer.transactional_id), "Ongoing")


@PRODUCE.case("in a transaction that nobody opened", PRODUCE_VERSIONS)
def _produce_unopened(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    at.ask(produce(at, topic, producer.batch(0, b"x"), transactional_id=producer.transactional_id))
    look_at_transaction(at, str(producer.transactional_id), "Ongoing", "Empty")


for what, stranger in STRANGERS.items():

    @PRODUCE.case(f"in a transaction: {what}", PRODUCE_VERSIONS)
    def _produce_stranger(at: Scene, stranger: object = stranger) -> None:
        producer = stranger(at)  # type: ignore[operator]
        topic = topic_with(at, 1)
        at.ask(produce(at, topic, producer.batch(0, b"x"), transactional_id=producer.transactional_id))


@PRODUCE.case("in a transaction, without its id", PRODUCE_VERSIONS)
def _produce_without_id(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    at.ask(produce(at, topic, producer.batch(0, b"x")))


@PRODUCE.case("a transactional id and a batch of nobody's", PRODUCE_VERSIONS)
def _produce_untransactional(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    plain = replace(producer, transactional_id=None)
    at.ask(produce(at, topic, plain.batch(0, b"x"), transactional_id=producer.transactional_id))


@PRODUCE.case("without a transaction, while one is open", PRODUCE_VERSIONS)
def _produce_beside(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    begin_classic(at, producer, topic, b"x")
    plain = replace(producer, transactional_id=None)
    at.ask(produce(at, topic, plain.batch(1, b"y")))


@PRODUCE.case("after the end of the transaction", PRODUCE_VERSIONS)
def _produce_after_end(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    before = replace(producer)
    begin(at, producer, topic, b"x")
    end(at, producer, commit=True)
    at.ask(produce(at, topic, before.batch(1, b"y"), transactional_id=producer.transactional_id))
