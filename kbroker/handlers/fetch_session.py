"""Incremental fetch sessions (KIP-227), without I/O: what a Fetch request asks for, and what may stay unsaid.

A consumer that fetches many partitions names them once. The broker remembers them in a session; later requests
carry changes only, and responses carry only partitions that have something new. Kafka's FetchSession.scala:

    request epoch            session            becomes
    0  (initial)             removed if named   a new session, epoch 1, when the cache has room for it
    -1 (final)               removed if named   a fetch without a session
    n, session has epoch n   changes applied    an incremental fetch; session epoch n+1 (wraps to 1)
    n, another epoch         untouched          INVALID_FETCH_SESSION_EPOCH
    n, session unknown       -                  FETCH_SESSION_ID_NOT_FOUND
    n, left without partitions                  the session is removed; a fetch of the named ones without one

The cache holds ``slots_max`` sessions. A new one takes the place of one unused for two minutes, or of a smaller
one that has lived as long; sessions of followers are not pushed out by consumers.
"""

from __future__ import annotations

import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from wire.errors import ErrorCode
from wire.messages.fetch import FetchRequest, FetchResponse
from wire.schema import ZERO_UUID

if TYPE_CHECKING:
    from kbroker.handlers.replica_fetch import SessionWatch

PartitionData = FetchResponse.FetchableTopicResponse.PartitionData
TopicKey = str | uuid.UUID

EVICTION_MS = 120_000
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
NO_SESSION = 0
NO_LEADER_EPOCH = -1  # every other negative epoch means the same
_EPOCH_MAX = 2**31 - 1
_TOPIC_IDS_SINCE = 13


def replica_of(request: FetchRequest) -> tuple[int, int]:
    """(node id, broker epoch) of the follower that asks; a negative id is a consumer's."""
    if request.replica_state.replica_id >= 0:
        return request.replica_state.replica_id, request.replica_state.replica_epoch
    return request.replica_id, -1


class FetchTarget:
    """One partition of a fetch: what the client asked for, and what a session last told it."""

    __slots__ = (
        "bytes_max",
        "current_leader_epoch",
        "fetch_offset",
        "index",
        "last_fetched_epoch",
        "log_start_offset",
        "sent_high_watermark",
        "sent_log_start_offset",
        "topic",
        "topic_id",
    )

    def __init__(
        self, topic: str, topic_id: uuid.UUID, asked: FetchRequest.FetchTopic.FetchPartition
    ) -> None:
        self.topic = topic
        self.topic_id = topic_id
        self.index = asked.partition
        self.sent_high_watermark = -1
        self.sent_log_start_offset = -1
        self.ask(asked)

    @property
    def key(self) -> tuple[TopicKey, int]:
        return (self.topic if self.topic_id == ZERO_UUID else self.topic_id), self.index

    def ask(self, asked: FetchRequest.FetchTopic.FetchPartition) -> None:
        self.fetch_offset = asked.fetch_offset
        self.bytes_max = asked.partition_max_bytes
        self.current_leader_epoch = max(asked.current_leader_epoch, NO_LEADER_EPOCH)
        self.last_fetched_epoch = asked.last_fetched_epoch
        self.log_start_offset = asked.log_start_offset

    def has_news(self, answer: PartitionData) -> bool:
        """Whether an incremental response must carry this partition; remembers what it then says."""
        news = bool(answer.records is not None and len(answer.records))
        if answer.high_watermark != self.sent_high_watermark:
            news, self.sent_high_watermark = True, answer.high_watermark
        if answer.log_start_offset != self.sent_log_start_offset:
            news, self.sent_log_start_offset = True, answer.log_start_offset
        if answer.preferred_read_replica != -1 or answer.diverging_epoch.epoch != -1:
            news = True
        if answer.error_code:
            # Forget the watermark, so that the first good answer after the error is sent again.
            news, self.sent_high_watermark = True, -1
        return news


class FetchSession:
    """The partitions of one session, in the order in which they are to be read."""

    __slots__ = (
        "created_ms",
        "epoch",
        "is_closed",
        "is_follower",
        "last_used_ms",
        "replica",
        "session_id",
        "targets",
        "uses_topic_ids",
        "watch",
    )

    def __init__(
        self,
        session_id: int,
        targets: Iterable[FetchTarget],
        *,
        replica: tuple[int, int],
        uses_topic_ids: bool,
        now_ms: int,
    ) -> None:
        """``replica``: (node id, broker epoch) of the follower whose session it is; a negative id is a consumer's."""
        self.session_id = session_id
        self.replica = replica
        self.targets = OrderedDict((target.key, target) for target in targets)
        self.is_follower = replica[0] >= 0
        self.uses_topic_ids = uses_topic_ids
        self.created_ms = self.last_used_ms = now_ms
        self.epoch = 1
        self.is_closed = False
        self.watch: SessionWatch | None = None
        """Of a follower's session: which of its partitions may have news."""

    def close(self) -> None:
        """The session has left the cache."""
        self.is_closed = True
        if self.watch is not None:
            self.watch.close()

    def apply(
        self, request: FetchRequest, topic_name: Callable[[uuid.UUID], str | None]
    ) -> tuple[list[FetchTarget], list[tuple[TopicKey, int]]]:
        """Take up the partitions that the request adds and changes, and the keys of those that it forgets."""
        named: list[FetchTarget] = []
        for target in requested_targets(request, self.uses_topic_ids, topic_name):
            known = self.targets.get(target.key)
            if known is None:
                known = self.targets[target.key] = target
            else:
                known.fetch_offset = target.fetch_offset
                known.bytes_max = target.bytes_max
                known.current_leader_epoch = target.current_leader_epoch
                known.last_fetched_epoch = target.last_fetched_epoch
                known.log_start_offset = target.log_start_offset
            named.append(known)
        gone: list[tuple[TopicKey, int]] = []
        for forgotten in request.forgotten_topics_data:
            topic: TopicKey = forgotten.topic_id if self.uses_topic_ids else forgotten.topic
            gone += [
                (topic, index)
                for index in forgotten.partitions
                if self.targets.pop((topic, index), None) is not None
            ]
        return named, gone

    def advance(self) -> None:
        self.epoch = 1 if self.epoch == _EPOCH_MAX else self.epoch + 1

    def changed(
        self, answers: Iterable[tuple[FetchTarget, PartitionData]]
    ) -> list[tuple[FetchTarget, PartitionData]]:
        """The answers that are news; a partition that sent records goes to the end of the order, for fairness."""
        news = self.told(answers)
        for target, answer in news:
            if answer.records is not None and len(answer.records) and target.key in self.targets:
                self.targets.move_to_end(target.key)
        return news

    def told(
        self, answers: Iterable[tuple[FetchTarget, PartitionData]]
    ) -> list[tuple[FetchTarget, PartitionData]]:
        """The answers that are news; they count as sent."""
        return [(target, answer) for target, answer in answers if target.has_news(answer)]


def requested_targets(
    request: FetchRequest, uses_topic_ids: bool, topic_name: Callable[[uuid.UUID], str | None]
) -> list[FetchTarget]:
    """The partitions that a request names; a topic id that is not known has the empty name.

    Of a partition that is named twice the last word counts, in the first one's place.
    """
    targets: dict[tuple[TopicKey, int], FetchTarget] = {}
    for topic in request.topics:
        name = (topic_name(topic.topic_id) or "") if uses_topic_ids else topic.topic
        topic_id = topic.topic_id if uses_topic_ids else ZERO_UUID
        for asked in topic.partitions:
            target = FetchTarget(name, topic_id, asked)
            targets[target.key] = target
    return list(targets.values())


class Fetch:
    """One Fetch request in the light of its session: the partitions to read, or a session error.

    ``named`` are those of the ``targets`` that the request itself names; ``forgotten`` those that the session lost.
    """

    __slots__ = ("error", "forgotten", "is_new", "named", "session", "targets")

    def __init__(
        self,
        targets: list[FetchTarget],
        *,
        session: FetchSession | None = None,
        is_new: bool = False,
        error: ErrorCode = ErrorCode.NONE,
        named: list[FetchTarget] | None = None,
        forgotten: Sequence[tuple[TopicKey, int]] = (),
    ) -> None:
        self.targets = targets
        self.named = targets if named is None else named
        self.forgotten = forgotten
        self.session = session
        self.is_new = is_new
        self.error = error

    @property
    def session_id(self) -> int:
        return self.session.session_id if self.session else NO_SESSION

    def answers_to_send(
        self, answers: list[tuple[FetchTarget, PartitionData]]
    ) -> list[tuple[FetchTarget, PartitionData]]:
        if self.session is None:
            return answers
        if self.is_new:  # keeps the client's order
            self.session.told(answers)
            return answers
        return self.session.changed(answers)


class FetchSessions:
    """The cache of sessions of one broker."""

    def __init__(
        self, *, slots_max: int, random: random.Random, topic_name: Callable[[uuid.UUID], str | None]
    ) -> None:
        self._slots_max = slots_max
        self._random = random
        self._topic_name = topic_name
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, request: FetchRequest, api_version: int, now_ms: int) -> Fetch:
        """Find out what ``request`` asks for, and move its session on."""
        uses_topic_ids = api_version >= _TOPIC_IDS_SINCE
        if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            self._remove(request.session_id)
            targets = requested_targets(request, uses_topic_ids, self._topic_name)
            if request.session_epoch == FINAL_EPOCH:
                return Fetch(targets)
            session = self._create(request, targets, uses_topic_ids, now_ms)
            return Fetch(targets, session=session, is_new=True)
        session = self._sessions.get(request.session_id)
        if session is None:
            return Fetch([], error=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        if session.epoch != request.session_epoch:
            return Fetch([], error=ErrorCode.INVALID_FETCH_SESSION_EPOCH)
        if session.uses_topic_ids != uses_topic_ids:
            return Fetch([], error=ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR)
        named, forgotten = session.apply(request, self._topic_name)
        if not session.targets:
            self._remove(session.session_id)
            return Fetch(requested_targets(request, uses_topic_ids, self._topic_name))
        session.advance()
        session.last_used_ms = now_ms
        self._sessions.move_to_end(session.session_id)
        for target in named if session.is_follower else session.targets.values():
            if not target.topic:  # the topic was not known when the session began; it may be by now
                target.topic = self._topic_name(target.topic_id) or ""
        # A follower's session is watched, and may be large: nobody needs all of it.
        targets = [] if session.is_follower else list(session.targets.values())
        return Fetch(targets, session=session, named=named, forgotten=forgotten)

    def abandon(self, fetch: Fetch) -> int:
        """Nothing is answered of this fetch: the id of its session, which is none if the answer would have begun it."""
        if fetch.is_new:
            self._remove(fetch.session_id)
            return NO_SESSION
        return fetch.session_id

    def _remove(self, session_id: int) -> None:
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def _create(
        self, request: FetchRequest, targets: list[FetchTarget], uses_topic_ids: bool, now_ms: int
    ) -> FetchSession | None:
        replica = replica_of(request)
        is_follower = replica[0] >= 0
        if is_follower:
            self._remove_former_lives(replica)
        full = len(self._sessions) >= self._slots_max
        if full and not self._evict(len(targets), is_follower, now_ms):
            return None
        session_id = self._random.randrange(1, 2**31)
        while session_id in self._sessions:
            session_id = self._random.randrange(1, 2**31)
        session = FetchSession(
            session_id, targets, replica=replica, uses_topic_ids=uses_topic_ids, now_ms=now_ms
        )
        self._sessions[session_id] = session
        return session

    def _remove_former_lives(self, replica: tuple[int, int]) -> None:
        """A broker that has registered anew has no use for the sessions that it had before."""
        node_id, broker_epoch = replica
        for session in list(self._sessions.values()):
            if session.replica[0] == node_id and session.replica[1] < broker_epoch:
                self._remove(session.session_id)

    def _evict(self, size: int, is_follower: bool, now_ms: int) -> bool:
        """Make room for a session of ``size`` partitions, if some session is worth less."""
        if not self._sessions:
            return False
        oldest = next(iter(self._sessions.values()))
        if now_ms - oldest.last_used_ms > EVICTION_MS:
            self._remove(oldest.session_id)
            return True
        evictable = [
            session
            for session in self._sessions.values()
            if now_ms - session.created_ms > EVICTION_MS or (is_follower and not session.is_follower)
        ]
        if not evictable:
            return False
        least = min(evictable, key=lambda session: (session.is_follower, len(session.targets)))
        if (is_follower, size) < (least.is_follower, len(least.targets)):
            return False
        self._remove(least.session_id)
        return True
