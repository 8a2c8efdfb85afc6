"""Going without anybody noticing: leadership moves first (Kafka's controlled shutdown)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import ClusterImage

logger = logging.getLogger(__name__)


class Leaving(Protocol):
    """The broker's session (``membership.BrokerSession``)."""

    def begin_controlled_shutdown(self, timeout_s: float) -> Awaitable[bool]: ...


def is_needed(image: ClusterImage, node_id: int) -> bool:
    """Whether a partition would miss this broker at once, and another one could spare it that.

    As long as it leads such partitions, clients use it; as long as it is in sync, their leaders wait for it.
    """
    is_another_active = any(
        broker.is_active for broker in image.brokers.values() if broker.node_id != node_id
    )
    return is_another_active and any(
        node_id in state.in_sync_replicas
        and any(other != node_id and image.is_active(other) for other in state.in_sync_replicas)
        for _, _, state in image.partitions_of(node_id)
    )


async def shut_down_controlled(
    session: Leaving,
    metadata: ClusterMetadata,
    node_id: int,
    *,
    timeout_s: float,
    monotonic: Callable[[], float],
) -> bool:
    """Announce that this broker goes, and wait until no partition needs it; False if time ran out first.

    Everything goes on meanwhile: leading, following, renewing the session. A store that is out of reach only
    costs the time. Where nobody can take over, nothing is announced.
    """
    if not is_needed(metadata.image, node_id):
        return True
    deadline = monotonic() + timeout_s
    if await session.begin_controlled_shutdown(timeout_s):
        with trio.move_on_after(max(deadline - monotonic(), 0)):
            await metadata.wait_until(lambda image: not is_needed(image, node_id))
            return True
    logger.warning("broker %d goes though partitions still need it", node_id)
    return False
