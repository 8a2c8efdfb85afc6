"""``kbroker import-kafka`` and ``kbroker export-kafka``: the cluster's metadata from Apache Kafka, and back to it.

Both work on the log directories of a broker that is stopped, and on its metadata store.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from kbroker.cli.serve import EXIT_BAD_SETTINGS, EXIT_FAILED, EXIT_OK, load_config
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.kafka_handback import hand_back
from kbroker.kafka_takeover import TakeoverError, kafka_metadata_directory, locked_directories, take_over
from kbroker.metadata import keys
from kbroker.metadata.kraft_import import counts_of
from kbroker.metadata.kraft_log import read_kraft_metadata
from kbroker.metadata.store import MetadataStore, StoreError
from kbroker.metadata_stores import store_access
from kbroker.os_world import OsWorld
from kbroker.world import World
from storage.meta_properties import META_PROPERTIES
from wire.errors import ProtocolError

_Action = Callable[[BrokerConfig, World], Awaitable[str]]


def import_kafka(options: argparse.Namespace) -> int:
    """Print one line about what came over, or is there; 0 if it did, 1 if it cannot, 2 for senseless settings."""
    return _run(options, _look if options.dry_run else _import)


def export_kafka(options: argparse.Namespace) -> int:
    """Print one line about what was written; exit codes as those of ``import_kafka``."""
    return _run(options, _export)


def _run(options: argparse.Namespace, action: _Action) -> int:
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        config = load_config(options)
    except (ConfigError, OSError) as refusal:
        print(f"kbroker: {refusal}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    try:
        print(trio.run(action, config, OsWorld()))
    except (StoreError, ProtocolError, OSError) as error:
        print(f"kbroker {options.command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


async def _look(config: BrokerConfig, world: World) -> str:
    directory = _metadata_directory(config, world)
    with locked_directories(config, world.filesystem) as cluster_id:
        metadata = read_kraft_metadata(world.filesystem, directory)
    return (
        f"{directory}, cluster {cluster_id}: up to epoch {metadata.epoch}, offset {metadata.end_offset}; "
        f"{counts_of(metadata.image)}"
    )


async def _import(config: BrokerConfig, world: World) -> str:
    directory = _metadata_directory(config, world)
    with locked_directories(config, world.filesystem) as cluster_id:
        async with _store(config, world) as store:
            if await store.get(keys.CLUSTER_KEY) is not None:
                raise TakeoverError("the metadata store has a cluster already")
            return await take_over(config, world, store, directory, cluster_id)


async def _export(config: BrokerConfig, world: World) -> str:
    for directory in config.log_directories:
        # Neither a directory nor a store is to come into being here.
        if not world.filesystem.exists(f"{directory}/{META_PROPERTIES}"):
            raise TakeoverError(f"no broker has run on {directory}")
    with locked_directories(config, world.filesystem) as cluster_id:
        async with _store(config, world) as store:
            return str(await hand_back(config, world, store, cluster_id))


def _metadata_directory(config: BrokerConfig, world: World) -> str:
    directory = kafka_metadata_directory(world.filesystem, config)
    if directory is None:
        raise TakeoverError(
            f"no metadata of Apache Kafka in {', '.join(config.log_directories)}, nor in metadata.log.dir"
        )
    return directory


@asynccontextmanager
async def _store(config: BrokerConfig, world: World) -> AsyncIterator[MetadataStore]:
    access = store_access(config, world)
    store = await access.open()
    try:
        yield store
    finally:
        await access.close()
