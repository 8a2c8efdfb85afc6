"""On which brokers the replicas of new partitions are put.

Follows Kafka's ``StripedReplicaPlacer``. Racks are visited in turn, each partition beginning one rack
further than the one before; within a rack its brokers take turns. So replicas spread over racks first,
over brokers second, and the leaders over both. Brokers without a rack form one rack of their own.
Fenced brokers are used only when a rack has no others left, and never for the first replica, which
becomes the leader; brokers in controlled shutdown are not used at all. Where the turns begin is random,
so that many small topics spread too.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from kbroker.metadata.image import BrokerRegistration
from wire.errors import ApiError, ErrorCode


def place_replicas(
    brokers: Iterable[BrokerRegistration], partition_count: int, replication_factor: int, random: Random
) -> list[tuple[int, ...]]:
    """The node ids for each of ``partition_count`` partitions, the preferred leader first.

    Raises ApiError INVALID_REPLICATION_FACTOR if the brokers do not suffice.
    """
    deal = _Deal(brokers, random)
    _check_replication_factor(replication_factor, deal)
    return [deal.next_partition(replication_factor) for _ in range(partition_count)]


def _check_replication_factor(replication_factor: int, deal: _Deal) -> None:
    if replication_factor <= 0:
        raise ApiError(ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be greater than zero.")
    if deal.unfenced_count == 0:
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replication_factor} time(s): "
            "All brokers are currently fenced or in controlled shutdown.",
        )
    if replication_factor > deal.broker_count:
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {replication_factor} time(s): The target replication factor of "
            f"{replication_factor} cannot be reached because only {deal.broker_count} broker(s) are registered "
            "or some brokers have all their log directories cordoned.",
        )


class _Turns:
    """Brokers taking turns: within one round each comes once, the next round begins one further."""

    def __init__(self) -> None:
        self.node_ids: list[int] = []
        self._start = 0
        self._taken = 0
        self._round = 0

    def begin(self, random: Random) -> None:
        if self.node_ids:
            self.node_ids.sort()
            self._start = random.randrange(len(self.node_ids))

    def take(self, round_number: int) -> int | None:
        """The next broker of this round, None when all have been taken."""
        count = len(self.node_ids)
        if count == 0:
            return None
        # Only a round that takes from here moves the start: with one replica per partition each rack is
        # asked every so many rounds, and yet must not give the same broker every time.
        if self._round != round_number:
            self._round = round_number
            self._taken = 0
            self._start = (self._start + 1) % count
        if self._taken == count:
            return None
        node_id = self.node_ids[(self._start + self._taken) % count]
        self._taken += 1
        return node_id


class _Rack:
    def __init__(self) -> None:
        self.unfenced = _Turns()
        self.fenced = _Turns()

    def take(self, round_number: int) -> int | None:
        node_id = self.unfenced.take(round_number)
        return node_id if node_id is not None else self.fenced.take(round_number)


class _Deal:
    """One dealing out of partitions to racks and brokers."""

    def __init__(self, brokers: Iterable[BrokerRegistration], random: Random) -> None:
        self._random = random
        racks: dict[str | None, _Rack] = {}
        self.broker_count = 0
        self.unfenced_count = 0
        for broker in brokers:
            if broker.in_controlled_shutdown:
                continue
            rack = racks.setdefault(broker.rack, _Rack())
            self.broker_count += 1
            if not broker.fenced:
                self.unfenced_count += 1
                rack.unfenced.node_ids.append(broker.node_id)
            else:
                rack.fenced.node_ids.append(broker.node_id)
        self._racks = [racks[name] for name in sorted(racks, key=lambda name: (name is not None, name or ""))]
        for rack in self._racks:
            rack.unfenced.begin(random)
            rack.fenced.begin(random)
        self._first_rack = random.randrange(len(self._racks)) if self._racks else 0
        self._round = 0
        self._rounds_since_shuffle = 0

    def next_partition(self, replication_factor: int) -> tuple[int, ...]:
        if self._rounds_since_shuffle == self.unfenced_count > 1:
            # Every broker has led once: mix, so that the same sets of replicas do not come again.
            self._shuffle()
            self._rounds_since_shuffle = 0
        rack_count = len(self._racks)
        first = self._first_rack % rack_count
        leader_rack, leader = self._take_leader(first)
        replicas = [leader]
        index = first
        skip_leader_rack = True
        while len(replicas) < replication_factor:
            if skip_leader_rack and index == leader_rack:
                skip_leader_rack = False
            else:
                node_id = self._racks[index].take(self._round)
                if node_id is not None:
                    replicas.append(node_id)
            index = (index + 1) % rack_count
        self._round += 1
        self._rounds_since_shuffle += 1
        self._first_rack = first + 1
        return tuple(replicas)

    def _take_leader(self, first: int) -> tuple[int, int]:
        for step in range(len(self._racks)):
            index = (first + step) % len(self._racks)
            node_id = self._racks[index].unfenced.take(self._round)
            if node_id is not None:
                return index, node_id
        raise AssertionError("an unfenced broker was counted, but none found")

    def _shuffle(self) -> None:
        self._random.shuffle(self._racks)
        for rack in self._racks:
            self._random.shuffle(rack.unfenced.node_ids)
            self._random.shuffle(rack.fenced.node_ids)
