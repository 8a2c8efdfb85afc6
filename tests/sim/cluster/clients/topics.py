"""The administrator who creates the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.cluster.clients.brokers import Unanswered
from tests.sim.cluster.clients.client import Client
from tests.sim.cluster.settings import TopicDraw
from wire.errors import ErrorCode
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse

if TYPE_CHECKING:
    from tests.sim.cluster.simulation import Simulation

_Topic = CreateTopicsRequest.CreatableTopic


async def create_topics(simulation: Simulation) -> None:
    """All topics of the seed; returns when they are created."""
    client = Client(simulation, "admin")
    for topic in simulation.settings.topics:
        await _create(client, topic)
    client.brokers.close()


async def _create(client: Client, topic: TopicDraw) -> None:
    wanted = _Topic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        configs=[
            _Topic.CreatableTopicConfig(name="min.insync.replicas", value=str(topic.min_in_sync_replicas))
        ],
    )
    while True:
        request = CreateTopicsRequest(topics=[wanted], timeout_ms=5_000)
        try:
            response = await client.brokers.request_any(request, CreateTopicsResponse)
        except Unanswered:
            continue
        code = client.brokers.answered(CreateTopicsRequest, response.topics[0].error_code)
        if code in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
            return
        await client.brokers.pause()
