"""Which replicas are to be where: files of ``kafka-reassign-partitions``, proposals, and what is throttled meanwhile.

Nothing here asks a cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from kbroker.tools.cluster import Partition, by_topic
from kbroker.tools.json_files import check_version, listed, member, parse_json
from kbroker.tools.reassignment_state import Reassignment
from kbroker.tools.session import CommandError

ANY_DIRECTORY: Final = "any"


class Replica(NamedTuple):
    """One partition on one broker; in the order in which Kafka's command lists them."""

    broker: int
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.broker}"


@dataclass(slots=True)
class Plan:
    """A reassignment file: the brokers of each partition in the file's order, and directories that are asked for."""

    entries: list[tuple[Partition, list[int]]] = field(default_factory=list)
    directories: dict[Replica, str] = field(default_factory=dict)

    @property
    def partitions(self) -> dict[Partition, list[int]]:
        return dict(self.entries)


@dataclass(frozen=True, slots=True)
class Move:
    """Where a partition's records come from, and where they go."""

    sources: frozenset[int]
    destinations: frozenset[int]


def partition_text(partition: Partition) -> str:
    return f"{partition[0]}-{partition[1]}"


def joined(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def parse_plan(text: str) -> Plan:
    """CommandError if the file is wrong."""
    value = parse_json(text)
    check_version(value)
    plan = Plan()
    for one in listed(value, "partitions"):
        topic, index = member(one, "topic", str), member(one, "partition", int)
        replicas = _all_of(member(one, "replicas", list), int)
        directories = (
            _all_of(listed(one, "log_dirs"), str) if "log_dirs" in one else [ANY_DIRECTORY] * len(replicas)
        )
        if len(replicas) != len(directories):
            raise CommandError(
                f"Size of replicas list [{', '.join(map(str, replicas))}] is different from size of log dirs list "
                f"[{', '.join(directories)}] for partition {topic}-{index}"
            )
        plan.entries.append(((topic, index), replicas))
        for broker, directory in zip(replicas, directories, strict=True):
            if directory != ANY_DIRECTORY:
                plan.directories[Replica(broker, topic, index)] = directory
    return plan


def parse_plan_to_execute(text: str) -> Plan:
    """A plan that can be carried out; CommandError."""
    plan = parse_plan(text)
    if not plan.entries:
        raise CommandError("Partition reassignment list cannot be empty")
    if not all(replicas for _, replicas in plan.entries):
        raise CommandError("Partition replica list cannot be empty")
    if twice := duplicates([partition for partition, _ in plan.entries]):
        raise CommandError(
            f"Partition reassignment contains duplicate topic partitions: {joined(map(partition_text, twice))}"
        )
    repeated = [
        f"{partition_text(partition)} contains multiple entries for {joined(duplicates(replicas))}"
        for partition, replicas in plan.entries
        if duplicates(replicas)
    ]
    if repeated:
        raise CommandError(
            f"Partition replica lists may not contain duplicate entries: {'. '.join(repeated)}"
        )
    return plan


def parse_topics(text: str) -> list[str]:
    """The topics to make a proposal for; CommandError."""
    value = parse_json(text)
    check_version(value)
    topics = [member(one, "topic", str) for one in listed(value, "topics")]
    if twice := duplicates(topics):
        raise CommandError(f"List of topics to reassign contains duplicate entries: [{', '.join(twice)}]")
    return topics


def parse_brokers(text: str) -> list[int]:
    """CommandError."""
    brokers: list[int] = []
    for word in text.split(","):
        try:
            brokers.append(int(word))
        except ValueError:
            raise CommandError(f'For input string: "{word}"') from None
    if twice := duplicates(brokers):
        raise CommandError(f"Broker list contains duplicate entries: [{', '.join(map(str, twice))}]")
    return brokers


def _all_of(values: list[Any], kind: type[Any]) -> list[Any]:
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CommandError(f"Expected `{kind.__name__}` value, received {json.dumps(value)}")
    return values


def duplicates(values: Sequence[Any]) -> list[Any]:
    return sorted({value for value in values if values.count(value) > 1})


def plan_text(assignment: Mapping[Partition, Sequence[int]], directories: Mapping[Replica, str]) -> str:
    """A reassignment file, as Kafka's command prints it."""
    partitions = [
        {
            "topic": topic,
            "partition": index,
            "replicas": list(assignment[topic, index]),
            "log_dirs": [
                directories.get(Replica(broker, topic, index), ANY_DIRECTORY)
                for broker in assignment[topic, index]
            ],
        }
        for topic, index in sorted(assignment)
    ]
    return json.dumps({"version": 1, "partitions": partitions}, separators=(",", ":"), ensure_ascii=False)


def propose(
    current: Mapping[Partition, Sequence[int]], racks: Mapping[int, str | None], start: int
) -> dict[Partition, list[int]]:
    """Spread each topic's partitions over these brokers, and their replicas over racks. CommandError.

    As many replicas as the topic's first partition has; ``start`` says with which broker to begin.
    """
    order = _alternating(racks)
    if not order:
        raise CommandError("All brokers are currently fenced, or have all their log directories cordoned.")
    proposal: dict[Partition, list[int]] = {}
    for topic, indexes in by_topic(sorted(current)).items():
        count = len(current[topic, indexes[0]])
        if count > len(order):
            raise CommandError(
                f"The target replication factor of {count} cannot be reached because only {len(order)} broker(s) are "
                "registered or some brokers have all their log directories cordoned."
            )
        for position, index in enumerate(indexes):
            proposal[topic, index] = _replicas(order, racks, position, start, count)
    return proposal


def _alternating(racks: Mapping[int, str | None]) -> list[int]:
    """The brokers, one rack after the other."""
    by_rack: dict[str, list[int]] = {}
    for broker in sorted(racks):
        by_rack.setdefault(racks[broker] or "", []).append(broker)
    longest = max(map(len, by_rack.values()), default=0)
    return [
        brokers[position]
        for position in range(longest)
        for _, brokers in sorted(by_rack.items())
        if position < len(brokers)
    ]


def _replicas(
    order: Sequence[int], racks: Mapping[int, str | None], position: int, start: int, count: int
) -> list[int]:
    """The first by turns; behind it the others, shifted by one each time round, new racks before those used."""
    first = (start + position) % len(order)
    behind = [*order[first + 1 :], *order[:first]]
    if behind:
        shift = (position // len(order)) % len(behind)
        behind = [*behind[shift:], *behind[:shift]]
    chosen = [order[first]]
    while len(chosen) < count:
        used = {racks[broker] for broker in chosen}
        left = [broker for broker in behind if broker not in chosen]
        chosen.append(next((broker for broker in left if racks[broker] not in used), left[0]))
    return chosen


def moves(
    under_way: Mapping[Partition, Reassignment],
    proposed: Mapping[Partition, Sequence[int]],
    current: Mapping[Partition, Sequence[int]],
) -> dict[Partition, Move]:
    """What moves now, and what will as soon as the proposal is carried out."""
    found = {
        partition: Move(
            frozenset(one.replicas) - frozenset(one.adding_replicas), frozenset(one.adding_replicas)
        )
        for partition, one in under_way.items()
    }
    for partition, replicas in proposed.items():
        moving = found.get(partition)
        sources = moving.sources if moving is not None else frozenset(current[partition])
        found[partition] = Move(sources, frozenset(replicas) - sources)
    return found


def throttled_replicas(moving: Mapping[Partition, Move], *, leaders: bool) -> dict[str, str]:
    """The value of ``leader.`` or ``follower.replication.throttled.replicas`` for each topic."""
    by_topic: dict[str, set[str]] = {}
    for (topic, index), move in moving.items():
        brokers = move.sources if leaders else move.destinations - move.sources
        by_topic.setdefault(topic, set()).update(f"{index}:{broker}" for broker in brokers)
    return {topic: joined(sorted(replicas)) for topic, replicas in by_topic.items()}
