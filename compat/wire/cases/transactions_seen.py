"""WriteTxnMarkers, DescribeProducers, DescribeTransactions, ListTransactions: transactions from outside."""

from __future__ import annotations

from compat.wire.arrange import standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.cases.fetch import transactions
from compat.wire.cases.transactions import invented, playground
from compat.wire.logs import append, ask_for_all
from compat.wire.producers import Producer, begin, begin_classic, end, idempotent, transactional
from compat.wire.scene import Scene
from wire.messages.transactions import (
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
    WriteTxnMarkersRequest,
)

WRITE_TXN_MARKERS = Cases(WriteTxnMarkersRequest)
DESCRIBE_PRODUCERS = Cases(DescribeProducersRequest)
DESCRIBE_TRANSACTIONS = Cases(DescribeTransactionsRequest)
LIST_TRANSACTIONS = Cases(ListTransactionsRequest)

Marker = WriteTxnMarkersRequest.WritableTxnMarker


def marker(
    producer: Producer,
    *topics: tuple[str, tuple[int, ...]],
    commit: bool = True,
    epoch_offset: int = 0,
    coordinator_epoch: int = 0,
    transaction_version: int = 0,
) -> Marker:
    return Marker(
        producer_id=producer.producer_id,
        producer_epoch=producer.epoch + epoch_offset,
        transaction_result=commit,
        topics=[
            Marker.WritableTxnMarkerTopic(name=name, partition_indexes=list(indexes))
            for name, indexes in topics
        ],
        coordinator_epoch=coordinator_epoch,
        transaction_version=transaction_version,
    )


def write(*markers: Marker) -> WriteTxnMarkersRequest:
    return WriteTxnMarkersRequest(markers=list(markers))


for commit in (True, False):

    @WRITE_TXN_MARKERS.case("a commit" if commit else "an abort")
    def _marks(at: Scene, commit: bool = commit) -> None:
        producer, topic = transactional(at), topic_with(at, 1)
        begin_classic(at, producer, topic, b"one")
        at.ask(write(marker(producer, (topic.name, (0,)), commit=commit)))
        ask_for_all(at, topic, read_committed=True)
        at.ask(write(marker(producer, (topic.name, (0,)), commit=commit)))
        ask_for_all(at, topic)


for what, options in {
    "an earlier epoch": {"epoch_offset": -1},
    "a later epoch": {"epoch_offset": 1},
    "a later coordinator": {"coordinator_epoch": 7},
}.items():

    @WRITE_TXN_MARKERS.case(what)
    def _marks_with(at: Scene, options: dict[str, int] = options) -> None:
        transactional(at)
        producer, topic = transactional(at), topic_with(at, 1)
        begin_classic(at, producer, topic, b"one")
        at.ask(write(marker(producer, (topic.name, (0,)), **options)))
        ask_for_all(at, topic)


@WRITE_TXN_MARKERS.case("an earlier coordinator")
def _earlier_coordinator(at: Scene) -> None:
    producer, topic = transactional(at), topic_with(at, 1)
    begin_classic(at, producer, topic, b"one")
    at.ask(write(marker(producer, (topic.name, (0,)), coordinator_epoch=7)))
    at.ask(write(marker(producer, (topic.name, (0,)), coordinator_epoch=6)))
    ask_for_all(at, topic)


for version in (1, 2, 3):

    @WRITE_TXN_MARKERS.case(f"transaction version {version}", "2")
    def _marks_version(at: Scene, version: int = version) -> None:
        producer, topic = transactional(at), topic_with(at, 1)
        begin_classic(at, producer, topic, b"one")
        for offset in (0, 1):
            request = marker(producer, (topic.name, (0,)), epoch_offset=offset, transaction_version=version)
            at.ask(write(request))
        ask_for_all(at, topic)


@WRITE_TXN_MARKERS.case("a producer that wrote nothing")
def _marks_nothing(at: Scene) -> None:
    topic = topic_with(at, 1)
    at.ask(write(marker(transactional(at), (topic.name, (0,)))))
    ask_for_all(at, topic)


WRITE_TXN_MARKERS.add(
    "an unknown topic", lambda at: write(marker(transactional(at), (at.name("absent"), (0,))))
)
WRITE_TXN_MARKERS.add(
    "an unknown partition", lambda at: write(marker(transactional(at), (standing_topic(at).name, (9, -1))))
)
WRITE_TXN_MARKERS.add("no partitions", lambda at: write(marker(transactional(at))))
WRITE_TXN_MARKERS.add("no markers", lambda at: write())


@WRITE_TXN_MARKERS.case("two markers")
def _two_markers(at: Scene) -> None:
    topic = topic_with(at, 2)
    producers = [transactional(at, prefix) for prefix in ("a", "b")]
    for index, producer in enumerate(producers):
        append(
            at, topic, producer.batch(0, b"x"), partition=index, transactional_id=producer.transactional_id
        )
    at.ask(write(*(marker(producer, (topic.name, (index,))) for index, producer in enumerate(producers))))


def producers_of(*topics: tuple[str, tuple[int, ...]]) -> DescribeProducersRequest:
    return DescribeProducersRequest(
        topics=[
            DescribeProducersRequest.TopicRequest(name=name, partition_indexes=list(indexes))
            for name, indexes in topics
        ]
    )


@DESCRIBE_PRODUCERS.case("an idempotent one")
def _idempotent(at: Scene) -> None:
    topic, producer = topic_with(at, 1), idempotent(at)
    append(at, topic, producer.batch(3, b"a", b"b"))
    at.ask(producers_of((topic.name, (0,))))


@DESCRIBE_PRODUCERS.case("one in a transaction, and after it")
def _transactional(at: Scene) -> None:
    topic, producer = topic_with(at, 1), transactional(at)
    begin(at, producer, topic, b"x", b"y")
    at.ask(producers_of((topic.name, (0,))))
    end(at, producer, commit=True)
    at.ask(producers_of((topic.name, (0,))))


DESCRIBE_PRODUCERS.add("of a log with transactions", lambda at: producers_of((transactions(at).name, (0,))))
DESCRIBE_PRODUCERS.add("of an empty partition", lambda at: producers_of((standing_topic(at).name, (1, 0))))
DESCRIBE_PRODUCERS.add("of an unknown partition", lambda at: producers_of((standing_topic(at).name, (9, -1))))
DESCRIBE_PRODUCERS.add("of an unknown topic", lambda at: producers_of((at.name("absent"), (0,))))
DESCRIBE_PRODUCERS.add("of an invalid name", lambda at: producers_of(("a b", (0,))))
DESCRIBE_PRODUCERS.add("of no partitions", lambda at: producers_of((standing_topic(at).name, ())))
DESCRIBE_PRODUCERS.add("of no topics", lambda at: producers_of())


def describe(*transactional_ids: str | None) -> DescribeTransactionsRequest:
    return DescribeTransactionsRequest(transactional_ids=[each or "" for each in transactional_ids])


def open_transaction(at: Scene, prefix: str = "open") -> str:
    producer = transactional(at, prefix)
    begin_classic(at, producer, playground(at))
    return str(producer.transactional_id)


def ended_transaction(at: Scene, *, commit: bool) -> str:
    producer = transactional(at, "committed" if commit else "aborted")
    begin(at, producer, topic_with(at, 1), b"x")
    end(at, producer, commit=commit)
    return str(producer.transactional_id)


DESCRIBE_TRANSACTIONS.add("an open one", lambda at: describe(open_transaction(at)))
DESCRIBE_TRANSACTIONS.add("none yet", lambda at: describe(transactional(at).transactional_id))
DESCRIBE_TRANSACTIONS.add("a committed one", lambda at: describe(ended_transaction(at, commit=True)))
DESCRIBE_TRANSACTIONS.add("an aborted one", lambda at: describe(ended_transaction(at, commit=False)))
DESCRIBE_TRANSACTIONS.add("an unknown one", lambda at: describe(invented(at).transactional_id))
DESCRIBE_TRANSACTIONS.add("one without a name", lambda at: describe(""))
DESCRIBE_TRANSACTIONS.add("several", lambda at: describe(at.name("absent"), open_transaction(at)))
DESCRIBE_TRANSACTIONS.add("one twice", lambda at: describe(*[open_transaction(at)] * 2))
DESCRIBE_TRANSACTIONS.add("none", lambda at: describe())


def all_states(at: Scene) -> bool:
    """One transactional id in each state that stays."""
    transactional(at, "empty")
    open_transaction(at)
    ended_transaction(at, commit=True)
    ended_transaction(at, commit=False)
    return True


def listed(
    states: tuple[str, ...] = (), ids: tuple[int, ...] = (), **fields: object
) -> ListTransactionsRequest:
    return ListTransactionsRequest(state_filters=list(states), producer_id_filters=list(ids), **fields)  # type: ignore[arg-type]


LIST_TRANSACTIONS.add("all", lambda at: all_states(at) and listed())
for states in (
    ("Ongoing",),
    ("Empty", "CompleteAbort"),
    ("ongoing",),
    ("Nonsense", "Ongoing"),
    ("Dead",),
    ("",),
):
    LIST_TRANSACTIONS.add(
        f"in state {' or '.join(states)}", lambda at, states=states: all_states(at) and listed(states)
    )
LIST_TRANSACTIONS.add(
    "of a producer", lambda at: listed(ids=(transactional(at).producer_id, 123_456_789, -1))
)
LIST_TRANSACTIONS.add("of an unknown producer", lambda at: all_states(at) and listed(ids=(123_456_789,)))
for duration in (0, 1, -1, -2, 3_600_000, 2**62):
    LIST_TRANSACTIONS.add(
        f"open for {duration} ms",
        lambda at, duration=duration: all_states(at) and listed(duration_filter=duration),
        "1+",
    )
for pattern in ("open-.*", "open", ".*v02", "[", "(?i)OPEN-.*", "", "e[mn].*"):
    LIST_TRANSACTIONS.add(
        f"matching {pattern!r}",
        lambda at, pattern=pattern: all_states(at) and listed(transactional_id_pattern=pattern),
        "2",
    )
