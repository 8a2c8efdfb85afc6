"""Bounds on what reassignments may cost others: bytes a second of throttled replicas (KIP-73).

Which replicas are throttled, the topic's ``leader.`` and ``follower.replication.throttled.replicas`` say; how much
they may have together, the broker's ``leader.`` and ``follower.replication.throttled.rate``. A replica in sync is
never held back. The rate is measured over the last samples, as in Kafka (ReplicationQuotaManager): a broker that was
quiet may go above it for a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Throttles(NamedTuple):
    """Whether a partition's replication counts against, and is held back by, this broker's quotas."""

    as_leader: bool = False
    as_follower: bool = False


NOT_THROTTLED = Throttles()


def is_listed(throttled_replicas: tuple[str, ...], partition: int, node_id: int) -> bool:
    """Whether a list of ``partition:broker`` pairs, or ``*``, names a replica."""
    return bool(throttled_replicas) and (
        throttled_replicas[0] == "*" or f"{partition}:{node_id}" in throttled_replicas
    )


class ReplicationQuota:
    """One of a broker's two quotas."""

    def __init__(
        self,
        *,
        bytes_per_second: Callable[[], int | None],
        samples: Callable[[], int],
        sample_s: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``bytes_per_second``: None for no bound."""
        self._bytes_per_second = bytes_per_second
        self._samples = samples
        self._sample_s = sample_s
        self._monotonic = monotonic
        self._spent: deque[tuple[float, int]] = deque()  # (when the sample began, bytes)
        self._total = 0

    def record(self, size_bytes: int) -> None:
        """So much was sent or fetched for throttled replicas."""
        now = self._monotonic()
        if self._spent and now - self._spent[-1][0] < self._sample_s():
            began, bytes_before = self._spent[-1]
            self._spent[-1] = began, bytes_before + size_bytes
        else:
            self._spent.append((now, size_bytes))
        self._total += size_bytes

    def is_exceeded(self) -> bool:
        limit = self._bytes_per_second()
        if limit is None:
            return False
        now, window_s = self._monotonic(), self._samples() * self._sample_s()
        while self._spent and now - self._spent[0][0] > window_s:
            self._total -= self._spent.popleft()[1]
        if not self._spent:
            return False
        # At least all samples but one, or the first bytes after a pause would count as an endless rate.
        elapsed_s = max(now - self._spent[0][0], window_s - self._sample_s())
        return self._total > limit * elapsed_s
