"""Who leads a partition instead, told with the refusal itself (KIP-951): Produce from version 10, Fetch from 16.

A client that is told goes to the new leader at once, instead of asking for metadata first.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kbroker.handlers.table import BrokerWithEndpoints, RequestContext
from wire.errors import ErrorCode

PRODUCE_HINTS_SINCE = 10
FETCH_HINTS_SINCE = 16
LED_ELSEWHERE = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH})
"""The errors that hints go with; Produce answers only the first of them."""


class RackedBroker(BrokerWithEndpoints, Protocol):
    """The part of a broker's registration that a hint tells."""

    @property
    def rack(self) -> str | None: ...


class LeaderHint(NamedTuple):
    """Who leads a partition; ``broker`` is None while it cannot be reached."""

    node_id: int
    leader_epoch: int
    broker: RackedBroker | None


class LeaderHints(Protocol):
    """Knows who leads which partition."""

    def leader_hint(self, topic: str, index: int) -> LeaderHint | None:
        """None if nobody leads it, or this broker is thought to."""
        ...


class HintedNode(NamedTuple):
    """One of a response's ``node_endpoints``."""

    node_id: int
    host: str
    port: int
    rack: str | None


class ResponseHints:
    """The hints of one response: each partition's leader, and every leader's address once."""

    __slots__ = ("_context", "_hints", "nodes")

    def __init__(self, hints: LeaderHints, context: RequestContext) -> None:
        self._hints = hints
        self._context = context
        self.nodes: dict[int, HintedNode] = {}

    def leader_of(self, topic: str, index: int) -> tuple[int, int] | None:
        """(leader id, leader epoch) for the partition's ``current_leader``; None: say nothing."""
        hint = self._hints.leader_hint(topic, index)
        if hint is None:
            return None
        endpoint = None if hint.broker is None else self._context.advertised_endpoint(hint.broker)
        if endpoint is not None and hint.broker is not None:
            self.nodes[hint.node_id] = HintedNode(hint.node_id, *endpoint, hint.broker.rack)
        return hint.node_id, hint.leader_epoch
