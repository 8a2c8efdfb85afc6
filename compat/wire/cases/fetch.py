"""Fetch: where reading begins, what it brings, and sessions."""

from __future__ import annotations

from compat.wire.arrange import UNKNOWN_TOPIC_ID, Topic, topic_with
from compat.wire.case import Cases
from compat.wire.logs import (
    FetchTopic,
    append,
    batch,
    fetch,
    fetch_partition,
    standing_log,
    unknown,
)
from compat.wire.producers import begin, end, transactional
from compat.wire.scene import Scene
from wire.messages.fetch import FetchRequest, FetchResponse

FETCH = Cases(FetchRequest)

READ_COMMITTED = 1
DEBUGGING_REPLICA, UNKNOWN_REPLICA = -2, 99
FINAL_EPOCH, INITIAL_EPOCH = -1, 0
SESSIONS = "7+"
SOME_SESSIONS = "7,12,13,17+"


def from_log(
    at: Scene, offset: int = 0, *, index: int = 0, bytes_max: int = 1 << 20, **fields: int
) -> FetchRequest:
    return fetch(
        at, (standing_log(at), [fetch_partition(offset, index=index, bytes_max=bytes_max)]), **fields
    )


def from_partition(at: Scene, **fields: int) -> FetchRequest:
    return fetch(at, (standing_log(at), [fetch_partition(**fields)]))


for offset, what in (
    (0, "the start"),
    (1, "the middle of a batch"),
    (3, "the second batch"),
    (5, "the last batch"),
    (6, "the end"),
    (7, "behind the end"),
    (-1, "before the start"),
    (2**62, "far behind the end"),
):
    FETCH.add(f"from {what}", lambda at, offset=offset: from_log(at, offset))
FETCH.add("an empty partition", lambda at: from_log(at, index=1))
FETCH.add("an unknown partition", lambda at: from_log(at, index=9))
FETCH.add("a partition below zero", lambda at: from_log(at, index=-1))
FETCH.add(
    "an unknown topic",
    lambda at: fetch(at, (unknown(UNKNOWN_TOPIC_ID, at.name("absent")), [fetch_partition()])),
)
FETCH.add(
    "an empty name or id",
    lambda at: FetchRequest(max_bytes=1000, topics=[FetchTopic(partitions=[fetch_partition()])]),
)
FETCH.add("no topics", lambda at: fetch(at))
FETCH.add("no partitions", lambda at: fetch(at, (standing_log(at), [])))
FETCH.add(
    "known and unknown partitions",
    lambda at: fetch(
        at,
        (standing_log(at), [fetch_partition(index=9), fetch_partition(3), fetch_partition(index=1)]),
        (unknown(UNKNOWN_TOPIC_ID, at.name("absent")), [fetch_partition()]),
    ),
)
FETCH.add(
    "a partition twice", lambda at: fetch(at, (standing_log(at), [fetch_partition(0), fetch_partition(5)]))
)
FETCH.add(
    "a topic twice",
    lambda at: fetch(
        at, (standing_log(at), [fetch_partition(0)]), (standing_log(at), [fetch_partition(index=1)])
    ),
)
for limit in (0, 1, 100, 200, -1):
    FETCH.add(
        f"at most {limit} bytes",
        lambda at, limit=limit: fetch(at, (standing_log(at), [fetch_partition()]), bytes_max=limit),
    )
    FETCH.add(
        f"at most {limit} bytes of a partition",
        lambda at, limit=limit: fetch(at, (standing_log(at), [fetch_partition(bytes_max=limit)])),
    )
FETCH.add(
    "two partitions and room for one",
    lambda at: fetch(
        at, (standing_log(at), [fetch_partition()]), (filled(at, "other"), [fetch_partition()]), bytes_max=100
    ),
)
FETCH.add("more bytes than there are", lambda at: from_log(at, bytes_min=1 << 20, wait_ms=10))
FETCH.add("bytes below zero", lambda at: from_log(at, bytes_min=-1))
FETCH.add("a wait below zero", lambda at: from_log(at, 6, bytes_min=1, wait_ms=-1))
FETCH.add("a wait at the end", lambda at: from_log(at, 6, bytes_min=1, wait_ms=20))
FETCH.add("an unknown isolation level", lambda at: from_log(at, isolation_level=2))
FETCH.add("committed records only", lambda at: from_log(at, isolation_level=READ_COMMITTED))
FETCH.add("a rack", lambda at: rack(at), "11+")


def rack(at: Scene) -> FetchRequest:
    request = from_log(at)
    request.rack_id = "rack"
    return request


def filled(at: Scene, prefix: str) -> Topic:
    """A topic with a batch in its one partition, shared by all cases."""

    def make() -> Topic:
        topic = topic_with(at, 1, prefix)
        append(at, topic, batch(b"x" * 100))
        return topic

    return at.side.once(("filled", prefix), make)


for epoch, what in ((0, "the epoch"), (1, "a later epoch"), (-1, "no epoch"), (-2, "an epoch below none")):
    FETCH.add(
        f"{what} of the leader", lambda at, epoch=epoch: from_partition(at, current_leader_epoch=epoch), "9+"
    )
    FETCH.add(
        f"{what} fetched last",
        lambda at, epoch=epoch: from_partition(at, offset=6, last_fetched_epoch=epoch),
        "12+",
    )
FETCH.add(
    "the epoch fetched last, behind the end",
    lambda at: from_partition(at, offset=9, last_fetched_epoch=0),
    "12+",
)
FETCH.add("a log start offset of a client", lambda at: from_partition(at, log_start_offset=3), "5+")
FETCH.add("a high watermark of a client", lambda at: from_partition(at, high_watermark=2), "18+")


def as_replica(at: Scene, replica_id: int, epoch: int = -1) -> FetchRequest:
    request = from_log(at)
    if at.version < 15:
        request.replica_id = replica_id
    else:
        request.replica_state = FetchRequest.ReplicaState(replica_id=replica_id, replica_epoch=epoch)
    return request


FETCH.add("a debugging replica", lambda at: as_replica(at, DEBUGGING_REPLICA))
FETCH.add("a replica that is none", lambda at: as_replica(at, UNKNOWN_REPLICA))
FETCH.add("a replica below all", lambda at: as_replica(at, -3))
FETCH.add("another cluster", lambda at: from_cluster(at, "another"), "12+")


def from_cluster(at: Scene, cluster_id: str) -> FetchRequest:
    request = from_log(at)
    request.cluster_id = cluster_id
    return request


def transactions(at: Scene) -> Topic:
    """One committed, one aborted, one that goes on, and records of nobody's transaction between them."""

    def make() -> Topic:
        topic = topic_with(at, 1, "transactions")
        producer = transactional(at)
        begin(at, producer, topic, b"committed")
        end(at, producer, commit=True)
        append(at, topic, batch(b"between"))
        begin(at, producer, topic, b"aborted", b"aborted")
        end(at, producer, commit=False)
        begin(at, transactional(at, "open", timeout_ms=900_000), topic, b"open")
        append(at, topic, batch(b"behind"))
        return topic

    return at.side.once("log with transactions", make)


for offset in range(9):
    FETCH.add(
        f"transactions, committed records from {offset}",
        lambda at, offset=offset: fetch(
            at, (transactions(at), [fetch_partition(offset)]), isolation_level=READ_COMMITTED
        ),
        None if offset == 0 else "12+",
    )
FETCH.add("transactions, all records", lambda at: fetch(at, (transactions(at), [fetch_partition()])))


@FETCH.case("a session that goes on", SOME_SESSIONS)
def _session(at: Scene) -> None:
    topic = topic_with(at, 2)
    append(at, topic, batch(b"one"))
    both = [fetch_partition(index=0), fetch_partition(index=1)]
    opened = at.ask(fetch(at, (topic, both), session_epoch=INITIAL_EPOCH), FetchResponse)
    session = opened.session_id
    at.ask(fetch(at, session_id=session, session_epoch=1))
    at.ask(fetch(at, (topic, [fetch_partition(1)]), session_id=session, session_epoch=2))
    append(at, topic, batch(b"two"), partition=1)
    at.ask(fetch(at, session_id=session, session_epoch=3))
    at.ask(fetch(at, session_id=session, session_epoch=3))
    at.ask(fetch(at, session_id=session, session_epoch=4))


@FETCH.case("a session that forgets a partition", SOME_SESSIONS)
def _session_forgets(at: Scene) -> None:
    topic = topic_with(at, 2)
    append(at, topic, batch(b"one"))
    append(at, topic, batch(b"one"), partition=1)
    both = [fetch_partition(index=0), fetch_partition(index=1)]
    session = at.ask(fetch(at, (topic, both), session_epoch=INITIAL_EPOCH), FetchResponse).session_id
    request = fetch(at, session_id=session, session_epoch=1)
    request.forgotten_topics_data = forgotten(at, topic, 0)
    at.ask(request)
    request = fetch(at, session_id=session, session_epoch=2)
    request.forgotten_topics_data = forgotten(at, topic, 1)
    at.ask(request)
    at.ask(fetch(at, session_id=session, session_epoch=3))


@FETCH.case("a session that forgets what it never knew", SESSIONS)
def _session_forgets_unknown(at: Scene) -> None:
    topic = filled(at, "topic")
    opening = fetch(at, (topic, [fetch_partition()]), session_epoch=INITIAL_EPOCH)
    session = at.ask(opening, FetchResponse).session_id
    request = fetch(at, session_id=session, session_epoch=1)
    request.forgotten_topics_data = forgotten(at, topic, 7)
    request.forgotten_topics_data += forgotten(at, unknown(UNKNOWN_TOPIC_ID, at.name("absent")), 0)
    at.ask(request)


def forgotten(at: Scene, topic: Topic, *partitions: int) -> list[FetchRequest.ForgottenTopic]:
    by_id = at.version >= 13
    return [
        FetchRequest.ForgottenTopic(topic_id=topic.topic_id, partitions=list(partitions))
        if by_id
        else FetchRequest.ForgottenTopic(topic=topic.name, partitions=list(partitions))
    ]


@FETCH.case("a session that ends", SESSIONS)
def _session_ends(at: Scene) -> None:
    topic = filled(at, "topic")
    opening = fetch(at, (topic, [fetch_partition()]), session_epoch=INITIAL_EPOCH)
    session = at.ask(opening, FetchResponse).session_id
    at.ask(fetch(at, (topic, [fetch_partition()]), session_id=session, session_epoch=FINAL_EPOCH))
    at.ask(fetch(at, session_id=session, session_epoch=1))


@FETCH.case("a session begun anew", SESSIONS)
def _session_anew(at: Scene) -> None:
    topic = filled(at, "topic")
    opening = fetch(at, (topic, [fetch_partition()]), session_epoch=INITIAL_EPOCH)
    session = at.ask(opening, FetchResponse).session_id
    at.ask(fetch(at, (topic, [fetch_partition(1)]), session_id=session, session_epoch=INITIAL_EPOCH))
    at.ask(fetch(at, session_id=session, session_epoch=1))


for epoch in (2, 7, -2, 2**31 - 1):

    @FETCH.case(f"a session at epoch {epoch}", SESSIONS)
    def _session_at_epoch(at: Scene, epoch: int = epoch) -> None:
        opening = fetch(at, (filled(at, "topic"), [fetch_partition()]), session_epoch=INITIAL_EPOCH)
        session = at.ask(opening, FetchResponse).session_id
        at.ask(fetch(at, session_id=session, session_epoch=epoch))


FETCH.add("an unknown session", lambda at: fetch(at, session_id=123456789, session_epoch=1), SESSIONS)
FETCH.add("a session below zero", lambda at: fetch(at, session_id=-5, session_epoch=1), SESSIONS)
FETCH.add(
    "an unknown session that ends",
    lambda at: from_log(at, session_id=123456789, session_epoch=FINAL_EPOCH),
    SESSIONS,
)
FETCH.add("an epoch without a session", lambda at: from_log(at, session_id=0, session_epoch=5), SESSIONS)


@FETCH.case("a session with errors", SESSIONS)
def _session_with_errors(at: Scene) -> None:
    topic = filled(at, "topic")
    asked = [
        (topic, [fetch_partition(99), fetch_partition(index=5)]),
        (unknown(UNKNOWN_TOPIC_ID, at.name("absent")), [fetch_partition()]),
    ]
    session = at.ask(fetch(at, *asked, session_epoch=INITIAL_EPOCH), FetchResponse).session_id
    at.ask(fetch(at, session_id=session, session_epoch=1))
    at.ask(fetch(at, (topic, [fetch_partition(0)]), session_id=session, session_epoch=2))


@FETCH.case("a session of no partitions", SESSIONS)
def _session_of_nothing(at: Scene) -> None:
    session = at.ask(fetch(at, session_epoch=INITIAL_EPOCH), FetchResponse).session_id
    at.ask(fetch(at, (filled(at, "topic"), [fetch_partition()]), session_id=session, session_epoch=1))
