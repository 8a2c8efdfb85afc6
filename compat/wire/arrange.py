"""What cases need to be there before they ask: topics that are led, records, groups, transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from compat.coordinators import key_of_each_partition
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.groups import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.messages.offsets import ListOffsetsRequest, ListOffsetsResponse
from wire.messages.topics import CreateTopicsRequest, CreateTopicsResponse

EARLIEST = -2


@dataclass(frozen=True)
class Topic:
    """A topic that every broker of the case has, under the same name and with an id of its own."""

    name: str
    topic_id: UUID
    partitions: int


UNKNOWN_TOPIC_ID = UUID("5f6d1c2e-8f3b-4d57-9b1a-3c2d1e0f9a87")
STANDING_PARTITIONS = 2
_LOADING = (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR)


def topic_with(
    scene: Scene, partitions: int, prefix: str = "topic", configs: Mapping[str, str] | None = None
) -> Topic:
    """A topic of the scene's own, whose partitions are all led; the same one if asked for again."""
    name = scene.name(prefix)
    return scene.side.once(name, lambda: _create_topic(scene, name, partitions, configs))


@dataclass(frozen=True)
class Place:
    """A partition of the scene's own, in a topic that the case has for all of its versions."""

    topic: Topic
    partition: int


def place(scene: Scene, prefix: str = "places", configs: Mapping[str, str] | None = None) -> Place:
    """An empty partition; cheaper than a topic, which takes the brokers most of a case's time."""
    name = scene.name_for_all_versions(prefix)
    topic = scene.side.once(name, lambda: _create_topic(scene, name, len(scene.versions), configs))
    return Place(topic, scene.versions.index(scene.version))


def standing_topic(scene: Scene) -> Topic:
    """A topic that all cases share and none changes."""
    return scene.side.once(
        "standing topic",
        lambda: _create_topic(scene, scene.name("standing"), STANDING_PARTITIONS, None),
    )


def _create_topic(scene: Scene, name: str, partitions: int, configs: Mapping[str, str] | None) -> Topic:
    creation = CreateTopicsRequest.CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=1,
        configs=[
            CreateTopicsRequest.CreatableTopic.CreatableTopicConfig(name=key, value=value)
            for key, value in (configs or {}).items()
        ],
    )
    created = scene.call(CreateTopicsRequest(topics=[creation]), CreateTopicsResponse)
    assert created.topics[0].error_code == ErrorCode.NONE, created
    wait_until_led(scene, name, partitions)
    scene.side.topic_names[created.topics[0].topic_id] = name
    return Topic(name, created.topics[0].topic_id, partitions)


def wait_until_gone(scene: Scene, name: str) -> None:
    """Until Metadata knows the topic no more."""
    asked = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name)], allow_auto_topic_creation=False
    )
    scene.until(
        lambda: scene.call(asked, MetadataResponse).topics[0].error_code,
        lambda code: code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        f"the end of {name}",
    )


def offsets_topic(scene: Scene) -> str:
    """The name of the topic of committed offsets, once all of it is loaded: groups can be coordinated then."""
    return scene.side.once("offsets topic", lambda: _await_coordinator(scene))


def _await_coordinator(scene: Scene) -> str:
    asked = FindCoordinatorRequest(coordinator_keys=["any"])
    scene.until(
        lambda: scene.call(asked, FindCoordinatorResponse).coordinators[0].error_code,
        lambda code: code == ErrorCode.NONE,
        "a coordinator of groups",
    )
    scene.until(
        lambda: scene.call(DescribeGroupsRequest(groups=key_of_each_partition()), DescribeGroupsResponse),
        lambda answer: not any(group.error_code in _LOADING for group in answer.groups),
        "all coordinators of groups",
    )
    return "__consumer_offsets"


def cluster_id(scene: Scene) -> str:
    """The id that the broker gave its cluster."""
    found = scene.call(MetadataRequest(topics=[]), MetadataResponse).cluster_id
    assert found is not None
    return found


def wait_until_led(scene: Scene, name: str, partitions: int) -> None:
    """Until Metadata names the topic's leaders and they answer."""
    asked = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=name)], allow_auto_topic_creation=False
    )
    scene.until(
        lambda: scene.call(asked, MetadataResponse).topics[0],
        lambda topic: (
            not topic.error_code
            and len(topic.partitions) == partitions
            and not any(partition.error_code for partition in topic.partitions)
        ),
        f"leaders of {name}",
    )
    offsets = ListOffsetsRequest(
        replica_id=-1,
        topics=[
            ListOffsetsRequest.ListOffsetsTopic(
                name=name,
                partitions=[
                    ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                        partition_index=index, timestamp=EARLIEST
                    )
                    for index in range(partitions)
                ],
            )
        ],
    )
    scene.until(
        lambda: scene.call(offsets, ListOffsetsResponse).topics[0].partitions,
        lambda found: not any(partition.error_code for partition in found),
        f"answers of the leaders of {name}",
    )
