"""What a follower asks one leader for, and what it makes of the answers, without I/O (KIP-227, the client's side).

Each followed partition is in one of these states:

    TO ASK    it may be fetched: asked for in the next request if the leader's session does not know this already
    IN HAND   the leader's session has it at its present offset
    HELD BACK its quota is used up, and it is not in sync (``quota.py``); forgotten until there is some left
    UNSYNCED  what was appended is not on the disk yet. An offset that is asked for vouches for all records before
              it, so until then it is forgotten by the session
    RESTING   the leader had an error for it; forgotten until its rest is over

    TO ASK --build--> IN HAND --records, truncation, new epoch--> TO ASK
                         |--error--> RESTING --time--> TO ASK
    TO ASK with unsynced records --build--> UNSYNCED --synced--> TO ASK

The session as a whole: epoch 0 names everything and is answered with an id; then only differences are sent. After
a broken connection, or when the leader has forgotten the session, it begins again at 0. So it does when this broker
has registered anew: what it vouched for in its former life counts for nothing any more.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from kbroker.replication.partition import Partition
from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse

PartitionData = FetchResponse.FetchableTopicResponse.PartitionData
PartitionKey = tuple[uuid.UUID, int]

REST_FIRST_S: Final = 0.02
_NO_SESSION: Final = 0
_INITIAL_EPOCH: Final = 0
_EPOCH_MAX: Final = 2**31 - 1
_NO_EPOCH: Final = -1


@dataclass(slots=True, eq=False)
class Followed:
    """One partition that is followed, in one leader epoch."""

    partition: Partition
    leader_epoch: int
    resume_at: float = 0.0
    rest_s: float = REST_FIRST_S
    lags: bool = True
    """Whether the leader had more committed than this log when it last answered."""

    @property
    def key(self) -> PartitionKey:
        return self.partition.topic_id, self.partition.index


class _Asked(NamedTuple):
    """What the leader's session knows of a partition."""

    leader_epoch: int
    fetch_offset: int
    last_fetched_epoch: int
    log_start_offset: int


class Limits(NamedTuple):
    """The ``replica.fetch.*`` settings."""

    wait_max_ms: int
    bytes_min: int
    bytes_max: int
    partition_bytes_max: int


class FollowerSession:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        node_id: int,
        broker_epoch: Callable[[], int],
        waits_for_disk: Callable[[], bool],
        is_quota_exceeded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``waits_for_disk``: whether acks=all means the disk (``kbroker.acks.all.sync``).

        ``is_quota_exceeded``: whether throttled partitions that lag are to be left out for now.
        """
        self._is_quota_exceeded = is_quota_exceeded
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._waits_for_disk = waits_for_disk
        self._followed: dict[PartitionKey, Followed] = {}
        self._to_ask: dict[PartitionKey, None] = {}
        self._in_hand: dict[PartitionKey, _Asked] = {}
        self._session_id = _NO_SESSION
        self._session_epoch = _INITIAL_EPOCH
        self._told_broker_epoch = _NO_EPOCH

    def __len__(self) -> int:
        return len(self._followed)

    def follow(self, partition: Partition) -> None:
        """Fetch it in its present leader epoch from now on."""
        followed = Followed(partition, partition.leader_epoch)
        self._followed[followed.key] = followed
        self._to_ask[followed.key] = None

    def unfollow(self, partition: Partition) -> None:
        key = (partition.topic_id, partition.index)
        if self._followed.pop(key, None) is not None:
            self._to_ask[key] = None

    def restart(self) -> None:
        """The connection is a new one, or the session was lost: everything is to be named again.

        The old session's id goes along, so that the leader forgets it.
        """
        self._session_epoch = _INITIAL_EPOCH
        self._in_hand.clear()
        self._to_ask = dict.fromkeys(self._followed)

    def unsynced(self) -> list[Partition]:
        """Partitions that cannot be asked for before the disk has what they hold."""
        if not self._waits_for_disk():
            return []
        return [
            followed.partition
            for key in self._to_ask
            if (followed := self._followed.get(key)) is not None and _is_unsynced(followed.partition)
        ]

    def next_resume(self, now: float) -> float | None:
        """When the first partition that rests has rested enough; None if none does."""
        return min(
            (
                followed.resume_at
                for key in self._to_ask
                if (followed := self._followed.get(key)) is not None and followed.resume_at > now
            ),
            default=None,
        )

    def build(self, limits: Limits, now: float) -> FetchRequest | None:
        """The next request; None while there is nothing that could be asked for."""
        broker_epoch = self._broker_epoch()
        if broker_epoch != self._told_broker_epoch:
            self._told_broker_epoch = broker_epoch
            self.restart()
        request = FetchRequest(
            replica_state=FetchRequest.ReplicaState(replica_id=self._node_id, replica_epoch=broker_epoch),
            max_wait_ms=limits.wait_max_ms,
            min_bytes=limits.bytes_min,
            max_bytes=limits.bytes_max,
            session_id=self._session_id,
            session_epoch=self._session_epoch,
        )
        topics: dict[uuid.UUID, FetchRequest.FetchTopic] = {}
        forgotten: dict[uuid.UUID, list[int]] = {}
        waits_for_disk, is_quota_exceeded = self._waits_for_disk(), self._is_quota_exceeded()
        for key in list(self._to_ask):
            followed = self._followed.get(key)
            if (
                followed is None
                or followed.resume_at > now
                or (waits_for_disk and _is_unsynced(followed.partition))
                or (is_quota_exceeded and followed.lags and followed.partition.throttles.as_follower)
            ):
                if self._in_hand.pop(key, None) is not None:
                    forgotten.setdefault(key[0], []).append(key[1])
                if followed is None:
                    del self._to_ask[key]
                continue
            del self._to_ask[key]
            asked = _ask(followed)
            if self._in_hand.get(key) == asked:
                continue
            self._in_hand[key] = asked
            topic = topics.get(key[0])
            if topic is None:
                topic = topics[key[0]] = FetchRequest.FetchTopic(topic_id=key[0])
            topic.partitions.append(
                FetchRequest.FetchTopic.FetchPartition(
                    partition=key[1],
                    current_leader_epoch=asked.leader_epoch,
                    fetch_offset=asked.fetch_offset,
                    last_fetched_epoch=asked.last_fetched_epoch,
                    log_start_offset=asked.log_start_offset,
                    partition_max_bytes=limits.partition_bytes_max,
                )
            )
        if not self._in_hand:
            self.restart()  # a session without partitions is none
            return None
        request.topics = list(topics.values())
        request.forgotten_topics_data = [
            FetchRequest.ForgottenTopic(topic_id=topic_id, partitions=indexes)
            for topic_id, indexes in forgotten.items()
        ]
        return request

    def answered(self, response: FetchResponse) -> Iterator[tuple[Followed, PartitionData]]:
        """The partitions that there is news of, of those that are still followed in the epoch that was asked in.

        Each is asked for anew in the next request; a caller that met an error calls ``rest``.
        """
        if response.error_code:
            self.restart()
            return
        self._session_id = response.session_id
        if response.session_id != _NO_SESSION:
            self._session_epoch = 1 if self._session_epoch == _EPOCH_MAX else self._session_epoch + 1
        for topic in response.responses:
            for data in topic.partitions:
                key = topic.topic_id, data.partition_index
                followed = self._followed.get(key)
                asked = self._in_hand.get(key)
                if followed is None or asked is None or asked.leader_epoch != followed.leader_epoch:
                    continue
                self._to_ask[key] = None
                if not data.error_code:
                    followed.rest_s = REST_FIRST_S
                    followed.lags = data.high_watermark > followed.partition.log_end_offset
                yield followed, data
        if response.session_id == _NO_SESSION:
            self.restart()  # the leader has no room for a session: everything is named each time

    def rest(self, followed: Followed, now: float, rest_max_s: float) -> None:
        """Leave the partition alone for a while: a little longer each time that it goes on failing."""
        followed.resume_at = now + followed.rest_s
        followed.rest_s = min(followed.rest_s * 2, rest_max_s)
        self._to_ask[followed.key] = None


def _is_unsynced(partition: Partition) -> bool:
    log = partition.log
    return log.recovery_point < log.log_end_offset


def _ask(followed: Followed) -> _Asked:
    log = followed.partition.log
    latest_epoch = log.latest_epoch
    return _Asked(
        followed.leader_epoch,
        log.log_end_offset,
        _NO_EPOCH if latest_epoch is None else latest_epoch,
        log.log_start_offset,
    )


def is_session_error(code: int) -> bool:
    """Whether the leader does not know the session any more, which is no reason to wait."""
    return code in (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
    )
