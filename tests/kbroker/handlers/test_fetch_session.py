"""Incremental fetch sessions: Kafka's FetchSessionTest, as far as a broker's state goes."""

import random
import uuid

import pytest

from kbroker.handlers.fetch_session import (
    EVICTION_MS,
    Fetch,
    FetchSessions,
    FetchTarget,
    PartitionData,
)
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest

TOPIC_ID = uuid.UUID(int=7)
NAMES = {TOPIC_ID: "t"}


def sessions(slots: int = 10) -> FetchSessions:
    return FetchSessions(slots_max=slots, random=random.Random(1), topic_name=NAMES.get)


def request(
    session_id: int = 0,
    epoch: int = 0,
    partitions: tuple[int, ...] = (),
    forget: tuple[int, ...] = (),
    offset: int = 0,
    follower: bool = False,
) -> FetchRequest:
    topics = [
        FetchRequest.FetchTopic(
            topic_id=TOPIC_ID,
            partitions=[
                FetchRequest.FetchTopic.FetchPartition(
                    partition=index, fetch_offset=offset, partition_max_bytes=10
                )
                for index in partitions
            ],
        )
    ]
    forgotten = [FetchRequest.ForgottenTopic(topic_id=TOPIC_ID, partitions=list(forget))]
    return FetchRequest(
        session_id=session_id,
        session_epoch=epoch,
        topics=topics if partitions else [],
        forgotten_topics_data=forgotten if forget else [],
        replica_state=FetchRequest.ReplicaState(replica_id=2 if follower else -1),
    )


def answer(target: FetchTarget, **fields: object) -> tuple[FetchTarget, PartitionData]:
    values: dict[str, object] = {"high_watermark": 5, "log_start_offset": 0, "records": b"", **fields}
    return target, PartitionData(partition_index=target.index, **values)  # type: ignore[arg-type]


def indexes(fetch: Fetch) -> list[int]:
    return [target.index for target in fetch.targets]


def begin(cache: FetchSessions, fetch_request: FetchRequest, now_ms: int = 0) -> Fetch:
    return cache.begin(fetch_request, 13, now_ms)


def test_a_full_fetch_opens_a_session_and_answers_everything() -> None:
    cache = sessions()
    fetch = begin(cache, request(partitions=(0, 1)))
    assert fetch.session_id > 0
    assert indexes(fetch) == [0, 1]
    answers = [answer(target) for target in fetch.targets]
    assert fetch.answers_to_send(answers) == answers


def test_an_incremental_fetch_answers_only_what_is_new() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0, 1)))
    first.answers_to_send([answer(target) for target in first.targets])
    second = begin(cache, request(first.session_id, 1))
    assert indexes(second) == [0, 1]
    sent = second.answers_to_send([answer(second.targets[0]), answer(second.targets[1], high_watermark=6)])
    assert [target.index for target, _ in sent] == [1]


@pytest.mark.parametrize(
    "news",
    [
        {"records": b"x"},
        {"high_watermark": 6},
        {"log_start_offset": 1},
        {"preferred_read_replica": 3},
        {"error_code": 1},
        {"diverging_epoch": PartitionData.EpochEndOffset(epoch=1, end_offset=2)},
    ],
)
def test_what_counts_as_news(news: dict[str, object]) -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    first.answers_to_send([answer(first.targets[0])])
    second = begin(cache, request(first.session_id, 1))
    assert len(second.answers_to_send([answer(second.targets[0], **news)])) == 1
    third = begin(cache, request(first.session_id, 2))
    quiet = third.answers_to_send([answer(third.targets[0])])
    # After an error, the first good answer is sent again; likewise a value that changed back.
    assert len(quiet) == (1 if {"error_code", "high_watermark", "log_start_offset"} & set(news) else 0)


def test_changes_are_taken_up_and_forgotten_partitions_dropped() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0, 1)))
    second = begin(cache, request(first.session_id, 1, partitions=(1, 2), forget=(0,), offset=9))
    assert indexes(second) == [1, 2]
    assert [target.fetch_offset for target in second.targets] == [9, 9]


def test_a_partition_that_sent_records_goes_to_the_end() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0, 1, 2)))
    first.answers_to_send([answer(target) for target in first.targets])
    second = begin(cache, request(first.session_id, 1))
    second.answers_to_send([answer(second.targets[0], records=b"x")])
    assert indexes(begin(cache, request(first.session_id, 2))) == [1, 2, 0]


def test_the_answers_that_open_a_session_leave_the_order_alone() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0, 1, 2)))
    first.answers_to_send([answer(target, records=b"x") for target in first.targets[:2]])
    assert indexes(begin(cache, request(first.session_id, 1))) == [0, 1, 2]


def test_the_last_word_about_a_partition_named_twice_counts() -> None:
    cache = sessions()
    twice = request(partitions=(0, 1, 0))
    twice.topics[0].partitions[2].fetch_offset = 7
    fetch = begin(cache, twice)
    assert [(target.index, target.fetch_offset) for target in fetch.targets] == [(0, 7), (1, 0)]


def test_every_negative_leader_epoch_means_none() -> None:
    asked = request(partitions=(0,))
    asked.topics[0].partitions[0].current_leader_epoch = -2
    assert begin(sessions(), asked).targets[0].current_leader_epoch == -1


def test_a_session_that_loses_its_last_partition_still_reads_what_was_asked_for() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    last = begin(cache, request(first.session_id, 1, partitions=(0,), forget=(0,)))
    assert (last.session_id, indexes(last)) == (0, [0])
    assert begin(cache, request(first.session_id, 2)).error is ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_wrong_epoch_unknown_session_and_mixed_topic_ids_are_refused() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    assert begin(cache, request(first.session_id, 2)).error is ErrorCode.INVALID_FETCH_SESSION_EPOCH
    assert begin(cache, request(first.session_id + 1, 1)).error is ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    error = cache.begin(request(first.session_id, 1), 12, 0).error
    assert error is ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
    assert not begin(cache, request(first.session_id, 1)).error, "a refused request must not move the epoch"


def test_a_repeated_incremental_request_is_refused() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    assert not begin(cache, request(first.session_id, 1)).error
    assert begin(cache, request(first.session_id, 1)).error is ErrorCode.INVALID_FETCH_SESSION_EPOCH


def test_the_epoch_wraps_to_one() -> None:
    cache = sessions()
    fetch = begin(cache, request(partitions=(0,)))
    assert fetch.session is not None
    fetch.session.epoch = 2**31 - 1
    assert not begin(cache, request(fetch.session_id, 2**31 - 1)).error
    assert not begin(cache, request(fetch.session_id, 1)).error


def test_the_final_epoch_closes_the_session_and_opens_none() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    last = begin(cache, request(first.session_id, -1, partitions=(1,)))
    assert (last.session_id, indexes(last), len(cache)) == (0, [1], 0)


def test_a_session_without_partitions_is_closed() -> None:
    cache = sessions()
    first = begin(cache, request(partitions=(0,)))
    empty = begin(cache, request(first.session_id, 1, forget=(0,)))
    assert (empty.session_id, empty.targets, len(cache)) == (0, [], 0)


def test_a_topic_id_that_is_not_known_yet_is_resolved_later() -> None:
    names: dict[uuid.UUID, str] = {}
    cache = FetchSessions(slots_max=1, random=random.Random(1), topic_name=names.get)
    first = begin(cache, request(partitions=(0,)))
    assert first.targets[0].topic == ""
    names[TOPIC_ID] = "t"
    assert begin(cache, request(first.session_id, 1)).targets[0].topic == "t"


def test_a_full_cache_keeps_young_sessions() -> None:
    cache = sessions(slots=1)
    first = begin(cache, request(partitions=(0,)))
    assert begin(cache, request(partitions=(0, 1, 2)), now_ms=EVICTION_MS).session_id == 0
    assert not begin(cache, request(first.session_id, 1), now_ms=EVICTION_MS).error


def test_a_session_unused_for_long_makes_room() -> None:
    cache = sessions(slots=1)
    begin(cache, request(partitions=(0, 1)))
    assert begin(cache, request(partitions=(0,)), now_ms=EVICTION_MS + 1).session_id > 0
    assert len(cache) == 1


def test_an_old_smaller_session_makes_room_for_a_larger_one_only() -> None:
    cache = sessions(slots=1)
    first = begin(cache, request(partitions=(0, 1)))
    later = EVICTION_MS + 1
    assert not begin(cache, request(first.session_id, 1), now_ms=later).error
    assert begin(cache, request(partitions=(0,)), now_ms=later).session_id == 0
    assert begin(cache, request(partitions=(0, 1, 2)), now_ms=later).session_id > 0


def test_a_follower_pushes_out_a_young_consumer_but_not_the_other_way_round() -> None:
    cache = sessions(slots=1)
    begin(cache, request(partitions=(0, 1)))
    follower = begin(cache, request(partitions=(0,), follower=True))
    assert follower.session_id > 0
    assert begin(cache, request(partitions=(0, 1, 2))).session_id == 0
