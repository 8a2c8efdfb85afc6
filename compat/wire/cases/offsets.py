"""ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

from compat.wire.arrange import Topic, topic_with
from compat.wire.case import Cases
from compat.wire.cases.fetch import transactions
from compat.wire.logs import BASE_TIME_MS, append, ask_for_all, batch, standing_log
from compat.wire.scene import Scene
from wire.messages.offsets import (
    DeleteRecordsRequest,
    ListOffsetsRequest,
    OffsetForLeaderEpochRequest,
)

LIST_OFFSETS = Cases(ListOffsetsRequest)
OFFSET_FOR_LEADER_EPOCH = Cases(OffsetForLeaderEpochRequest)
DELETE_RECORDS = Cases(DeleteRecordsRequest)

CONSUMER, DEBUGGING = -1, -2
SPECIAL = {
    "the end": -1,
    "the start": -2,
    "the latest time": -3,
    "the start of what is local": -4,
    "the end of what is remote": -5,
    "the start of what is yet to be copied": -6,
    "a special time that is none": -7,
}
TIMES = {
    "long before": 0,
    "just before": BASE_TIME_MS - 1,
    "the first record": BASE_TIME_MS,
    "the middle of a batch": BASE_TIME_MS + 1,
    "a gap between batches": BASE_TIME_MS + 5_000,
    "the second batch": BASE_TIME_MS + 10_000,
    "the middle of a compressed batch": BASE_TIME_MS + 10_001,
    "the last record": BASE_TIME_MS + 20_000,
    "just after": BASE_TIME_MS + 20_001,
    "the end of time": 2**63 - 1,
}
ABSENT = "absent"


def list_offsets(
    topic: Topic | str,
    *asked: tuple[int, int],
    replica_id: int = CONSUMER,
    epoch: int = -1,
    **fields: int,
) -> ListOffsetsRequest:
    """``asked``: partition and timestamp."""
    partition = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition
    return ListOffsetsRequest(
        replica_id=replica_id,
        topics=[
            ListOffsetsRequest.ListOffsetsTopic(
                name=topic if isinstance(topic, str) else topic.name,
                partitions=[
                    partition(partition_index=index, timestamp=time_ms, current_leader_epoch=epoch)
                    for index, time_ms in asked
                ],
            )
        ],
        **fields,
    )


for what, time_ms in (SPECIAL | TIMES).items():
    LIST_OFFSETS.add(what, lambda at, time_ms=time_ms: list_offsets(standing_log(at), (0, time_ms)))
    LIST_OFFSETS.add(
        f"{what} of nothing", lambda at, time_ms=time_ms: list_offsets(standing_log(at), (1, time_ms)), "10+"
    )
    LIST_OFFSETS.add(
        f"{what}, of committed records",
        lambda at, time_ms=time_ms: list_offsets(transactions(at), (0, time_ms), isolation_level=1),
        "10+",
    )
LIST_OFFSETS.add("the end of transactions", lambda at: list_offsets(transactions(at), (0, -1)))
LIST_OFFSETS.add(
    "the end of committed records",
    lambda at: list_offsets(transactions(at), (0, -1), isolation_level=1),
    "2+",
)
LIST_OFFSETS.add(
    "an unknown isolation level", lambda at: list_offsets(standing_log(at), (0, -1), isolation_level=5), "2+"
)
LIST_OFFSETS.add("several partitions", lambda at: list_offsets(standing_log(at), (1, -1), (0, -1), (7, -1)))
LIST_OFFSETS.add("a partition twice", lambda at: list_offsets(standing_log(at), (0, -1), (0, -2), (1, -1)))
LIST_OFFSETS.add("an unknown topic", lambda at: list_offsets(at.name(ABSENT), (0, -1)))
LIST_OFFSETS.add("an invalid name", lambda at: list_offsets("a b", (0, -1)))
LIST_OFFSETS.add("a partition below zero", lambda at: list_offsets(standing_log(at), (-1, -1)))
LIST_OFFSETS.add("no partitions", lambda at: list_offsets(standing_log(at)))
LIST_OFFSETS.add("no topics", lambda at: ListOffsetsRequest(replica_id=CONSUMER))
for epoch in (0, 1, -2):
    LIST_OFFSETS.add(
        f"leader epoch {epoch}",
        lambda at, epoch=epoch: list_offsets(standing_log(at), (0, -1), epoch=epoch),
        "4+",
    )
for replica_id in (DEBUGGING, 1, 99, -3):
    LIST_OFFSETS.add(
        f"replica {replica_id}",
        lambda at, replica_id=replica_id: list_offsets(standing_log(at), (0, -1), replica_id=replica_id),
    )
for timeout_ms in (0, -1, 1):
    LIST_OFFSETS.add(
        f"within {timeout_ms} ms",
        lambda at, timeout_ms=timeout_ms: list_offsets(
            standing_log(at), (0, BASE_TIME_MS), timeout_ms=timeout_ms
        ),
        "10+",
    )


def leader_epoch_end(
    topic: Topic | str, *asked: tuple[int, int], epoch: int = -1, replica_id: int = DEBUGGING
) -> OffsetForLeaderEpochRequest:
    """``asked``: partition and the epoch whose end is wanted."""
    partition = OffsetForLeaderEpochRequest.OffsetForLeaderTopic.OffsetForLeaderPartition
    return OffsetForLeaderEpochRequest(
        replica_id=replica_id,
        topics=[
            OffsetForLeaderEpochRequest.OffsetForLeaderTopic(
                topic=topic if isinstance(topic, str) else topic.name,
                partitions=[
                    partition(partition=index, leader_epoch=wanted, current_leader_epoch=epoch)
                    for index, wanted in asked
                ],
            )
        ],
    )


for wanted in (0, 1, 7, -1, -2, 2**31 - 1):
    OFFSET_FOR_LEADER_EPOCH.add(
        f"epoch {wanted}", lambda at, wanted=wanted: leader_epoch_end(standing_log(at), (0, wanted))
    )
    OFFSET_FOR_LEADER_EPOCH.add(
        f"epoch {wanted} of nothing",
        lambda at, wanted=wanted: leader_epoch_end(standing_log(at), (1, wanted)),
    )
for epoch in (0, 1, -2):
    OFFSET_FOR_LEADER_EPOCH.add(
        f"current epoch {epoch}",
        lambda at, epoch=epoch: leader_epoch_end(standing_log(at), (0, 0), epoch=epoch),
    )
for replica_id in (1, 99, -1, -3):
    OFFSET_FOR_LEADER_EPOCH.add(
        f"replica {replica_id}",
        lambda at, replica_id=replica_id: leader_epoch_end(standing_log(at), (0, 0), replica_id=replica_id),
        "3+",
    )
OFFSET_FOR_LEADER_EPOCH.add("an unknown topic", lambda at: leader_epoch_end(at.name(ABSENT), (0, 0)))
OFFSET_FOR_LEADER_EPOCH.add("an unknown partition", lambda at: leader_epoch_end(standing_log(at), (7, 0)))
OFFSET_FOR_LEADER_EPOCH.add("a partition below zero", lambda at: leader_epoch_end(standing_log(at), (-1, 0)))
OFFSET_FOR_LEADER_EPOCH.add(
    "a partition twice", lambda at: leader_epoch_end(standing_log(at), (0, 0), (0, 1), (1, 0))
)
OFFSET_FOR_LEADER_EPOCH.add("an invalid name", lambda at: leader_epoch_end("a b", (0, 0)))
OFFSET_FOR_LEADER_EPOCH.add("no topics", lambda at: OffsetForLeaderEpochRequest())


def delete_records(
    topic: Topic | str, *asked: tuple[int, int], timeout_ms: int = 30_000
) -> DeleteRecordsRequest:
    """``asked``: partition and the offset before which all goes."""
    partition = DeleteRecordsRequest.DeleteRecordsTopic.DeleteRecordsPartition
    return DeleteRecordsRequest(
        topics=[
            DeleteRecordsRequest.DeleteRecordsTopic(
                name=topic if isinstance(topic, str) else topic.name,
                partitions=[partition(partition_index=index, offset=offset) for index, offset in asked],
            )
        ],
        timeout_ms=timeout_ms,
    )


def six_records(at: Scene, configs: dict[str, str] | None = None) -> Topic:
    topic = topic_with(at, 2, configs=configs)
    append(at, topic, batch(b"a", b"b", b"c"))
    append(at, topic, batch(b"d", b"e", b"f"))
    return topic


for offset in (0, 2, 3, 6, 7, -1, -2, 2**62):

    @DELETE_RECORDS.case(f"before {offset}")
    def _delete_before(at: Scene, offset: int = offset) -> None:
        topic = six_records(at)
        at.ask(delete_records(topic, (0, offset)))
        at.ask(list_offsets(topic, (0, -2), (0, -1)), version=11)
        ask_for_all(at, topic)


@DELETE_RECORDS.case("backward")
def _delete_backward(at: Scene) -> None:
    topic = six_records(at)
    at.ask(delete_records(topic, (0, 4)))
    at.ask(delete_records(topic, (0, 2)))


DELETE_RECORDS.add(
    "of a compacted topic",
    lambda at: delete_records(topic_with(at, 1, configs={"cleanup.policy": "compact"}), (0, 0)),
)
DELETE_RECORDS.add(
    "of a topic compacted and deleted",
    lambda at: delete_records(topic_with(at, 1, configs={"cleanup.policy": "compact,delete"}), (0, 0)),
)
DELETE_RECORDS.add(
    "of several partitions", lambda at: delete_records(six_records(at), (1, 0), (0, 3), (5, 0))
)
DELETE_RECORDS.add("of a partition twice", lambda at: delete_records(six_records(at), (0, 3), (0, 4)))
DELETE_RECORDS.add("of an unknown topic", lambda at: delete_records(at.name(ABSENT), (0, 0)))
DELETE_RECORDS.add("of a partition below zero", lambda at: delete_records(six_records(at), (-1, 0)))
DELETE_RECORDS.add(
    "of the topic of committed offsets", lambda at: delete_records("__consumer_offsets", (0, 0))
)
DELETE_RECORDS.add("of an invalid name", lambda at: delete_records("a b", (0, 0)))
DELETE_RECORDS.add("of no topics", lambda at: DeleteRecordsRequest(timeout_ms=1000))
DELETE_RECORDS.add("of no partitions", lambda at: delete_records(six_records(at)))
DELETE_RECORDS.add("with no time", lambda at: delete_records(six_records(at), (0, 3), timeout_ms=0))
DELETE_RECORDS.add(
    "with less than no time", lambda at: delete_records(six_records(at), (0, 3), timeout_ms=-1)
)
