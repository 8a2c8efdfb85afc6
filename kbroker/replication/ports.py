"""What replication needs to know of the cluster; ``broker.py`` hands it in, tests hand in fakes."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kbroker.client import BrokerClient
from wire.errors import ApiError


class PartitionState(Protocol):
    """The cluster's word on one partition."""

    @property
    def leader(self) -> int: ...

    @property
    def leader_epoch(self) -> int: ...

    @property
    def partition_epoch(self) -> int: ...

    @property
    def replicas(self) -> tuple[int, ...]: ...

    @property
    def in_sync_replicas(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class InSyncProposal:
    """What the leader in ``leader_epoch`` wants the in-sync set of a partition to be (KIP-497, KIP-903).

    ``in_sync_replicas`` are (node id, broker epoch), the epoch as the replica itself told it; -1 where it did not.
    """

    topic_id: uuid.UUID
    index: int
    leader_epoch: int
    partition_epoch: int
    in_sync_replicas: tuple[tuple[int, int], ...]


AlterInSync = Callable[
    [Sequence[InSyncProposal]], Awaitable[dict[tuple[uuid.UUID, int], PartitionState | ApiError]]
]
"""Carries proposals out by compare-and-set; by (topic id, index) the state that the partition has now, or why not.

REQUEST_TIMED_OUT says that nobody knows whether it was done. It may raise ApiError for all of them.
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """How this broker, and others, stand in the cluster right now. The defaults are those of a broker on its own."""

    monotonic: Callable[[], float] = lambda: 0.0
    may_lead: Callable[[], bool] = lambda: True
    """Whether no other broker can believe yet that this one is gone: else it must neither lead nor acknowledge."""
    is_in_doubt: Callable[[], bool] = lambda: False
    """Whether a broker that may not lead is about to learn that it may again, or that others do."""
    may_join: Callable[[int, int], bool] = lambda node_id, broker_epoch: False
    """Whether a replica (node id, broker epoch that it told) may be counted in sync: registered, unfenced, staying."""
    lag_time_max_s: Callable[[], float] = lambda: 30.0
    """``replica.lag.time.max.ms``."""


class Peers(Protocol):
    """The other brokers."""

    async def connect(self, node_id: int) -> BrokerClient:
        """A connection of one's own; ConnectionLost if there is none to be had."""
        ...
