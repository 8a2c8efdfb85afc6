"""One member of a classic group (Kafka's ``ClassicGroupMember``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from kbroker.coordination.machine import Caller

UNKNOWN_MEMBER_ID = ""
"""The member id of a client that has none yet."""


class Protocol(NamedTuple):
    """One way of assigning partitions that a member knows, with what it wants its leader to know."""

    name: str
    metadata: bytes


@dataclass(slots=True, eq=False)
class Member:
    """``protocols`` are in the member's order of preference.

    ``awaiting_join`` and ``awaiting_sync`` hold the call that waits for the end of the phase, if one does.
    ``is_new`` until the member has been part of a generation: it has no session then, and goes when its
    JoinGroup has waited for too long.
    """

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocol_type: str
    protocols: tuple[Protocol, ...]
    assignment: bytes = b""
    awaiting_join: Caller | None = None
    awaiting_sync: Caller | None = None
    is_new: bool = False

    @property
    def is_static(self) -> bool:
        return self.group_instance_id is not None

    @property
    def is_awaiting_join(self) -> bool:
        return self.awaiting_join is not None

    @property
    def is_exempt_from_session(self) -> bool:
        """Whether the member cannot be expected to send heartbeats, since it waits for the coordinator."""
        return not self.is_new and (self.awaiting_join is not None or self.awaiting_sync is not None)

    @property
    def protocol_names(self) -> set[str]:
        return {protocol.name for protocol in self.protocols}

    def metadata(self, protocol_name: str | None) -> bytes:
        for protocol in self.protocols:
            if protocol.name == protocol_name:
                return protocol.metadata
        raise AssertionError(f"member {self.member_id} does not support protocol {protocol_name!r}")

    def vote(self, candidates: Collection[str]) -> str:
        """The protocol that the member likes best among those that all members support."""
        for protocol in self.protocols:
            if protocol.name in candidates:
                return protocol.name
        raise AssertionError(f"member {self.member_id} supports none of {sorted(candidates)}")


def java_host(host: str) -> str:
    """The client's address as Kafka stores and shows it: ``InetAddress.toString()`` without a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"/{host}"
    if isinstance(address, ipaddress.IPv6Address):
        return "/" + ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
    return f"/{host}"
