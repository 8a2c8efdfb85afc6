"""Groups that rebalance: eagerly, cooperatively, and not at all where members are static."""

from __future__ import annotations

from collections import Counter

import pytest

from compat.clients.client import Client, Consumer, Partition, eventually, poll_until
from compat.clients.conftest import NewTopic
from compat.clients.witness import Witness
from compat.conftest import RunningBroker, UniqueName
from wire.records import Record

PARTITIONS = 4
COOPERATIVE = "cooperative-sticky"
STATIC_SESSION_MS = 30_000


@pytest.mark.feature("eager")
def test_a_group_shares_partitions_and_goes_on_from_its_commits(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic, group = new_topic(partitions=PARTITIONS), unique_name("group")
    _write_to_each(witness, topic, b"first")
    one = client.member(broker.bootstrap_servers, [topic], group)
    one.take(PARTITIONS)
    _commit(client, witness, group, topic, 1, one)
    assert one.assignment == _all(topic)

    two = client.member(broker.bootstrap_servers, [topic], group)
    poll_until([one, two], lambda: _shared(topic, one, two))
    described = witness.group(group)
    assert described.assignor != COOPERATIVE
    assert {member.partitions for member in described.members} == {one.assignment, two.assignment}
    _write_to_each(witness, topic, b"second")
    poll_until([one, two], lambda: len(one.received) + len(two.received) >= 2 * PARTITIONS)
    _commit(client, witness, group, topic, 2, one, two)

    client.close(two)
    poll_until([one], lambda: one.assignment == _all(topic))
    _write_to_each(witness, topic, b"third")
    one.take(PARTITIONS)

    assert _counts(one, two) == {
        (partition, value): 1 for partition in range(PARTITIONS) for value in (b"first", b"second", b"third")
    }


@pytest.mark.feature("cooperative")
def test_a_member_goes_on_with_the_partitions_that_it_keeps(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    """Nothing is committed: a partition that was taken away for a moment would be read from its beginning again.

    A library that commits by itself is tried as well, though it would go on from there in either case.
    """
    commits_by_itself = not client.supports("commit")
    topic, group = new_topic(partitions=PARTITIONS), unique_name("group")
    _write_to_each(witness, topic, b"first")
    one = client.member(broker.bootstrap_servers, [topic], group, assignor="cooperative")
    one.take(PARTITIONS)
    assert one.assignment == _all(topic)
    if commits_by_itself:
        _commit(client, witness, group, topic, 1, one)

    two = client.member(broker.bootstrap_servers, [topic], group, assignor="cooperative")
    poll_until([one, two], lambda: _shared(topic, one, two))
    kept, moved = one.assignment, two.assignment
    _write_to_each(witness, topic, b"second")
    of_two = 2 if commits_by_itself else 4
    poll_until([one, two], lambda: len(one.received) >= PARTITIONS + 2 and len(two.received) >= of_two)

    assert witness.group(group).assignor == COOPERATIVE
    had_all = one.assignments.index(_all(topic))
    assert all(assignment >= kept for assignment in one.assignments[had_all:])
    if client.supports("rebalances"):
        told = one.rebalances()
        assert [revoked for revoked in told.revoked if revoked] == [moved]
        assert Counter(partition for assigned in told.assigned for partition in assigned) == Counter(
            _all(topic)
        )
    first, second = (
        {(partition, value) for partition in range(PARTITIONS)} for value in (b"first", b"second")
    )
    assert _counts(one) == dict.fromkeys(first | {(partition, b"second") for _, partition in kept}, 1)
    for_two = second if commits_by_itself else first | second
    assert _counts(two) == {
        (partition, value): 1 for partition, value in for_two if (topic, partition) in moved
    }


@pytest.mark.feature("static")
def test_a_static_member_comes_back_without_a_rebalance(
    client: Client,
    broker: RunningBroker,
    witness: Witness,
    new_topic: NewTopic,
    unique_name: UniqueName,
) -> None:
    topic, group = new_topic(partitions=PARTITIONS), unique_name("group")

    def member(instance_id: str) -> Consumer:
        return client.member(
            broker.bootstrap_servers,
            [topic],
            group,
            instance_id=instance_id,
            session_timeout_ms=STATIC_SESSION_MS,
        )

    one, two = member("one"), member("two")
    poll_until([one, two], lambda: _shared(topic, one, two))
    before, generation = witness.group(group), witness.generation(group)
    assert {found.instance_id for found in before.members} == {"one", "two"}
    assert generation > 0
    had, others = one.assignment, two.assignment
    rebalances = two.rebalances() if client.supports("rebalances") else None

    client.close(one)
    two.poll()
    away = witness.group(group)
    assert (away.state, away.members) == ("Stable", before.members)
    one = member("one")
    poll_until([one, two], lambda: one.assignment == had)
    _write_to_each(witness, topic, b"value")
    poll_until([one, two], lambda: len(one.received) >= 2 and len(two.received) >= 2)

    assert two.assignments[-1] == others
    assert rebalances is None or two.rebalances() == rebalances
    assert witness.generation(group) == generation
    assert _assignments(witness, group) == {"one": had, "two": others}
    assert _counts(one, two) == {(partition, b"value"): 1 for partition in range(PARTITIONS)}


def _commit(
    client: Client, witness: Witness, group: str, topic: str, offset: int, *consumers: Consumer
) -> None:
    """Commit all partitions up to ``offset``, or wait until a library that commits by itself has."""
    expected = dict.fromkeys(range(PARTITIONS), offset)
    if client.supports("commit"):
        for consumer in consumers:
            consumer.commit()
        assert witness.committed(group, topic) == expected
    else:
        eventually(lambda: witness.committed(group, topic), expected)


def _write_to_each(witness: Witness, topic: str, value: bytes) -> None:
    for partition in range(PARTITIONS):
        witness.write(topic, [Record(0, 0, None, value)], partition=partition)


def _all(topic: str) -> frozenset[Partition]:
    return frozenset((topic, partition) for partition in range(PARTITIONS))


def _shared(topic: str, one: Consumer, two: Consumer) -> bool:
    """Whether each has half of the partitions."""
    half = PARTITIONS // 2
    return len(one.assignment) == len(two.assignment) == half and one.assignment | two.assignment == _all(
        topic
    )


def _counts(*consumers: Consumer) -> Counter[tuple[int, bytes | None]]:
    """How often each record was received."""
    return Counter((found.partition, found.value) for consumer in consumers for found in consumer.received)


def _assignments(witness: Witness, group: str) -> dict[str | None, frozenset[Partition]]:
    return {member.instance_id: member.partitions for member in witness.group(group).members}
