"""Log directories that Apache Kafka is to serve from now on: the metadata that it needs, written beside the logs.

The brokers are stopped. Apache Kafka's metadata directory gets a snapshot that goes further than whatever is in it,
and every log the topic id by which Apache Kafka tells it from a stray one. All other files are Kafka's anyway. Once
Apache Kafka has run, a broker of ours that is started again on its old store is refused (``kafka_takeover``).
"""

from __future__ import annotations

from typing import NamedTuple

from kbroker.config.broker_config import BrokerConfig
from kbroker.kafka_takeover import METADATA_DIRECTORY, TakeoverError, kafka_metadata_directory
from kbroker.metadata import keys
from kbroker.metadata.image import ClusterImage
from kbroker.metadata.image_update import read_image
from kbroker.metadata.kraft_export import exported, snapshot, snapshot_name
from kbroker.metadata.kraft_import import remember_extent
from kbroker.metadata.kraft_log import log_extent, read_kraft_metadata
from kbroker.metadata.store import MetadataStore
from kbroker.world import World
from storage.checkpoint import write_atomically
from storage.filesystem import Filesystem
from storage.partition_metadata import PARTITION_METADATA, write_partition_metadata
from storage.topic_partition import TopicPartition


class HandedBack(NamedTuple):
    """``snapshot``: the file with the metadata."""

    snapshot: str
    topics: int
    partitions: int

    def __str__(self) -> str:
        return (
            f"wrote {self.snapshot} with {self.topics} topics and {self.partitions} partitions: Apache Kafka can be "
            "started on the log directories"
        )


async def hand_back(
    config: BrokerConfig, world: World, store: MetadataStore, cluster_id: str | None
) -> HandedBack:
    """Write what Apache Kafka needs; ``cluster_id`` is that of the log directories, whose locks the caller holds.

    TakeoverError if a broker runs, or the store has another cluster; StoreError, ProtocolError, OSError.
    """
    everything = await store.range("")
    image = read_image(everything)
    if image.cluster_id is None or image.cluster_id != cluster_id:
        raise TakeoverError(
            f"the log directories belong to cluster {cluster_id}, the metadata to {image.cluster_id}"
        )
    if image.brokers:
        running = ", ".join(str(node_id) for node_id in sorted(image.brokers))
        raise TakeoverError(f"brokers are running: {running}")
    producer_ids = next((item.value for item in everything.items if item.key == keys.PRODUCER_IDS_KEY), None)
    next_producer_id = 0 if producer_ids is None else keys.decode_producer_ids(producer_ids)
    filesystem = world.filesystem
    await world.run_blocking(_name_topics, filesystem, config, image)
    directory = await world.run_blocking(kafka_metadata_directory, filesystem, config)
    if directory is None:
        directory = f"{config.metadata_log_dir or config.log_directories[0]}/{METADATA_DIRECTORY}"
        await world.run_blocking(filesystem.make_directories, directory)
    # Before the snapshot is there: Apache Kafka may run from that moment on.
    await remember_extent(store, await world.run_blocking(log_extent, filesystem, directory))
    before = await world.run_blocking(read_kraft_metadata, filesystem, directory)
    epoch = max(before.epoch, 1)
    path = f"{directory}/{snapshot_name(before.end_offset + 1, epoch)}"
    records = list(exported(image, next_producer_id))
    data = snapshot(records, epoch=epoch, timestamp_ms=world.wall_clock_ms())
    await world.run_blocking(write_atomically, filesystem, path, data)
    return HandedBack(path, len(image.topics), sum(len(topic.partitions) for topic in image.topics.values()))


def _name_topics(filesystem: Filesystem, config: BrokerConfig, image: ClusterImage) -> None:
    """Write the topic ids that logs lack: ours get them with their first sync, after a crash some have none."""
    for topic, index, _ in image.partitions_of(config.node_id):
        for parent in config.log_directories:
            directory = f"{parent}/{TopicPartition(topic.name, index).directory_name}"
            if filesystem.exists(directory) and not filesystem.exists(f"{directory}/{PARTITION_METADATA}"):
                write_partition_metadata(filesystem, directory, topic.topic_id)
