"""Log directories that Apache Kafka has written: what a broker of ours does with the metadata in them.

Topics, configs and the rest lie in ``__cluster_metadata-0``, which is read once, into a metadata store that has no
cluster yet, and never again:

    no store yet, embedded     the metadata is imported when the broker starts
    no store yet, etcd         the start is refused: which broker's copy is the newest one a person must say,
                               with ``kbroker import-kafka``
    imported                   nothing to do; but if Apache Kafka has run on the directory since, what the store
                               says is not true any more, and the start is refused

The directory itself stays as it is. Whoever calls this holds the locks of the log directories.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.rules import KafkaConfigRules
from kbroker.config.topic_names import CLUSTER_METADATA_TOPIC
from kbroker.metadata import keys
from kbroker.metadata.store import MetadataStore, StoreError
from kbroker.world import World
from storage.errors import DirectoryInUseError, IncompatibleDirectoryError, StorageError
from storage.filesystem import Filesystem
from storage.log_directory import LogDirectory
from wire.errors import ProtocolError

logger = logging.getLogger(__name__)

METADATA_DIRECTORY: Final = f"{CLUSTER_METADATA_TOPIC}-0"
_LOSSES_TOLD_MAX: Final = 10


class TakeoverError(StoreError):
    """What Apache Kafka left cannot be taken over; the message is for whoever typed the command."""


def kafka_metadata_directory(filesystem: Filesystem, config: BrokerConfig) -> str | None:
    """Where Apache Kafka's metadata is, if it is there: in ``metadata.log.dir``, or in a log directory."""
    parents = [*filter(None, [config.metadata_log_dir]), *config.log_directories]
    for parent in parents:
        path = f"{parent}/{METADATA_DIRECTORY}"
        if filesystem.exists(path):
            return path
    return None


async def take_over_at_start(
    config: BrokerConfig, world: World, store: MetadataStore, cluster_id: str | None
) -> None:
    """See the table in the module's docstring; ``cluster_id`` is that of the log directories.

    TakeoverError, StoreError. After StoreUnavailableError it may be called again.
    """
    directory = await world.run_blocking(kafka_metadata_directory, world.filesystem, config)
    if directory is None:
        return
    # Here and not above: the start of a broker is timed, and most have no use for these.
    from kbroker.metadata.kraft_import import ran_since
    from kbroker.metadata.kraft_log import log_extent

    is_shared = config.kbroker_metadata_store == "etcd"
    if await store.get(keys.CLUSTER_KEY) is not None:
        if is_shared:
            return  # it need not be this broker's copy that was imported
        extent = await world.run_blocking(log_extent, world.filesystem, directory)
        if await ran_since(store, extent):
            raise TakeoverError(
                f"Apache Kafka has run on {directory} since its metadata was imported: topics that it made or deleted "
                "are not known here. docs/MIGRATION.md says what to do"
            )
    elif is_shared:
        raise TakeoverError(
            f"{directory} has the metadata of Apache Kafka, and the store has none yet: 'kbroker import-kafka' brings "
            "it there, from the broker whose copy goes furthest. See docs/MIGRATION.md"
        )
    else:
        logger.info("%s", await take_over(config, world, store, directory, cluster_id))


async def take_over_before_start(config: BrokerConfig, world: World, store: MetadataStore) -> None:
    """The same for several brokers of one process, before any of them holds a lock."""
    if await world.run_blocking(kafka_metadata_directory, world.filesystem, config) is not None:
        with locked_directories(config, world.filesystem) as cluster_id:
            await take_over_at_start(config, world, store, cluster_id)


async def take_over(
    config: BrokerConfig, world: World, store: MetadataStore, directory: str, cluster_id: str | None
) -> str:
    """Import the metadata in ``directory`` into a store that has no cluster yet; a line that says what came over.

    All or nothing: cut off anywhere, it begins anew the next time. Errors as ``take_over_at_start`` has them.
    """
    from kbroker.metadata.kraft_import import counts_of, imported, write_import
    from kbroker.metadata.kraft_log import log_extent, read_kraft_metadata

    if cluster_id is None:
        raise TakeoverError(f"{directory} has no meta.properties beside it: whose metadata is it?")
    filesystem = world.filesystem
    try:
        extent = await world.run_blocking(log_extent, filesystem, directory)
        metadata = await world.run_blocking(read_kraft_metadata, filesystem, directory)
        found = imported(metadata.image, metadata.epoch, KafkaConfigRules(config))
    except (ProtocolError, OSError) as error:
        raise TakeoverError(f"the metadata of Apache Kafka cannot be taken over: {error}") from error
    if len(metadata.voters) > 1:
        logger.warning(
            "%s is the copy of one of %d controllers: another one's may go further",
            directory,
            len(metadata.voters),
        )
    await write_import(store, cluster_id, found.entries, extent)
    for loss in found.losses[:_LOSSES_TOLD_MAX]:
        logger.warning("not carried over from Apache Kafka: %s", loss)
    if len(found.losses) > _LOSSES_TOLD_MAX:
        logger.warning(
            "not carried over from Apache Kafka: %d more configs", len(found.losses) - _LOSSES_TOLD_MAX
        )
    return (
        f"took over the metadata of Apache Kafka in {directory}, up to offset {metadata.end_offset} "
        f"in epoch {metadata.epoch}: {counts_of(metadata.image)}"
    )


@contextmanager
def locked_directories(config: BrokerConfig, filesystem: Filesystem) -> Iterator[str | None]:
    """Hold the locks of the log directories; the cluster that they belong to, None if they belong to none.

    TakeoverError if somebody else holds one, or they belong to several clusters.
    """
    directories = [LogDirectory(filesystem, path) for path in config.log_directories]
    try:
        try:
            for directory in directories:
                directory.lock()
            properties = [directory.read_properties() for directory in directories]
        except (DirectoryInUseError, IncompatibleDirectoryError, StorageError) as error:
            raise TakeoverError(str(error)) from error
        known = {found.cluster_id for found in properties if found is not None}
        if len(known) > 1:
            raise TakeoverError(f"the log directories belong to several clusters: {', '.join(sorted(known))}")
        yield next(iter(known), None)
    finally:
        for directory in directories:
            directory.unlock()
