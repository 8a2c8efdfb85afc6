"""Which topics the members of a group are subscribed to, as far as the coordinator can tell.

Only groups of protocol type "consumer" say so, in the metadata of their members: KIP-211 needs it to keep
the offsets of topics that are being consumed, and OffsetDelete (KIP-496) to refuse deleting them.
"""

from __future__ import annotations

from collections.abc import Iterable

from wire.errors import ProtocolError
from wire.internal.consumer_protocol import ConsumerProtocolSubscription
from wire.schema import read_version_prefix

CONSUMER_PROTOCOL_TYPE = "consumer"

_VERSION_PREFIX_BYTES = 2
_OLDEST_VERSION = 0


def subscribed_topics(metadata: Iterable[bytes]) -> frozenset[str] | None:
    """All topics that the members name in their subscriptions; None if one of them cannot be read.

    Version 0 is a prefix of every later version, so it is what is read of all of them.
    """
    topics: set[str] = set()
    try:
        for subscription in metadata:
            if read_version_prefix(subscription) < _OLDEST_VERSION:
                return None
            decoded, _ = ConsumerProtocolSubscription.decode_from(
                subscription, _OLDEST_VERSION, _VERSION_PREFIX_BYTES
            )
            topics.update(decoded.topics)
    except ProtocolError:
        return None
    return frozenset(topics)
