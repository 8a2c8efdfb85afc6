"""Makes the metadata of a stopped Apache Kafka that of this cluster: a ``KraftImage`` becomes keys of the store.

``imported`` is the plain part: which keys there will be, and what cannot be kept. ``write_import`` writes them. A store
takes a bounded number of operations at once, so that is several transactions, and a crash may come between any two:

    empty       no "cluster", no "kafka-import-begun"
      | the mark is set, and what an attempt before this one wrote is removed, in one transaction
    begun       every further transaction compares the mark, which a later attempt would have changed
      | the last transaction writes "cluster", without which a store is none, and takes the mark away
    done

A broker that finds the mark does not start a new cluster (``membership.ensure_cluster_id``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata import keys
from kbroker.metadata.config_decisions import ConfigRules
from kbroker.metadata.feature_decisions import SUPPORTED_FEATURES
from kbroker.metadata.image import ConfigResource, PartitionState
from kbroker.metadata.kraft_image import KraftImage, KraftMetadataError, KraftTopic
from kbroker.metadata.store import (
    ABSENT,
    TRANSACTION_OPERATIONS_MAX,
    Compare,
    Delete,
    DeletePrefix,
    MetadataStore,
    Put,
    StoreError,
)
from wire.errors import ApiError

_RESOURCE_TYPES: Final = {
    ConfigResourceType.TOPIC: "topic",
    ConfigResourceType.BROKER: "broker",
    ConfigResourceType.CLIENT_METRICS: "client metrics subscription",
    ConfigResourceType.GROUP: "group",
}


class Import(NamedTuple):
    """``entries``: the keys to be written, but for the cluster's id; ``losses``: a line for each thing left behind."""

    entries: dict[str, bytes]
    losses: tuple[str, ...]


class ImportCounts(NamedTuple):
    """What an import brings over, for the log."""

    topics: int
    partitions: int
    configs: int
    client_quotas: int
    next_producer_id: int

    def __str__(self) -> str:
        return (
            f"{self.topics} topics with {self.partitions} partitions, {self.configs} configs, "
            f"{self.client_quotas} client quotas, producer ids from {self.next_producer_id}"
        )


def counts_of(image: KraftImage) -> ImportCounts:
    return ImportCounts(
        topics=len(image.topics),
        partitions=sum(len(topic.partitions) for topic in image.topics.values()),
        configs=sum(len(entries) for entries in image.configs.values()),
        client_quotas=sum(len(quotas) for quotas in image.client_quotas.values()),
        next_producer_id=image.next_producer_id,
    )


def imported(image: KraftImage, epoch: int, rules: ConfigRules) -> Import:
    """The keys that say the same as ``image``, as far as keys can.

    KraftMetadataError where leaving something out would lose records: two topics whose names collide, partitions
    that are missing.
    """
    entries = {
        keys.FEATURES_KEY: keys.encode_features(_features(image)),
        keys.PRODUCER_IDS_KEY: keys.encode_producer_ids(image.next_producer_id),
        keys.CONTROLLER_EPOCH_KEY: keys.encode_controller_epoch(epoch),
    }
    losses = [f"{kind}: {len(found)}" for kind, found in image.others.items() if found]
    for topic in image.topics.values():
        key = keys.topic_key(topic.name)
        if key in entries:
            name, _, _ = keys.decode_topic(key, entries[key])
            raise KraftMetadataError(
                f"the topics '{topic.name}' and '{name}' differ only in '.' and '_': kbroker has room for one of them"
            )
        entries.update(_topic_entries(topic, key))
    names = {topic.name for topic in image.topics.values()}
    for resource, configs in image.configs.items():
        if resource[0] == ConfigResourceType.TOPIC and resource[1] not in names:
            continue
        kept = _usable_configs(resource, configs, rules, losses)
        if kept:
            entries[keys.config_key(resource)] = keys.encode_config(kept)
    for entity, quotas in image.client_quotas.items():
        entries[keys.client_quotas_key(entity)] = keys.encode_client_quotas(quotas)
    return Import(entries, tuple(losses))


def _features(image: KraftImage) -> dict[str, int]:
    """Kafka's levels, as far as this kbroker goes."""
    levels = {
        name: max(lowest, min(image.features.get(name, 0), highest))
        for name, (lowest, highest) in SUPPORTED_FEATURES.items()
    }
    return {name: level for name, level in levels.items() if level > 0}


def _topic_entries(topic: KraftTopic, key: str) -> Iterator[tuple[str, bytes]]:
    states = [
        taken_over(topic.partitions[index])
        for index in range(len(topic.partitions))
        if index in topic.partitions
    ]
    if len(states) < len(topic.partitions):
        raise KraftMetadataError(f"topic '{topic.name}' has no partition 0 to {len(topic.partitions) - 1}")
    births = [keys.newborn_partition(state.replicas, state.replicas) for state in states]
    yield key, keys.encode_topic(topic.name, topic.topic_id, births)
    for index, (state, birth) in enumerate(zip(states, births, strict=True)):
        if state != birth:
            yield keys.partition_key(topic.topic_id, index), keys.encode_partition(state)


def taken_over(state: PartitionState) -> PartitionState:
    """The state in which kbroker takes a partition over.

    A partition's only replica leads at once, in a new epoch: nobody else can have anything of it. Where there are
    others, the state is Kafka's, and the controller settles it with the brokers that come.
    """
    if len(state.replicas) != 1:
        return state
    return state._replace(
        in_sync_replicas=state.replicas,
        leader=state.replicas[0],
        leader_epoch=state.leader_epoch + 1,
        partition_epoch=state.partition_epoch + 1,
        eligible_leader_replicas=(),
        last_known_eligible_leader_replicas=(),
        is_recovering=False,
    )


def _usable_configs(
    resource: ConfigResource, configs: Mapping[str, str], rules: ConfigRules, losses: list[str]
) -> dict[str, str]:
    """The configs that kbroker knows and whose values it takes; the others go to ``losses``, without their values."""
    resource_type, name = resource
    if resource_type not in _RESOURCE_TYPES:
        losses.append(f"{len(configs)} configs of resource type {resource_type}")
        return {}
    usable: dict[str, str] = {}
    for key, value in sorted(configs.items()):
        try:
            rules.validate_overrides(resource, {**usable, key: value})
        except ApiError:
            losses.append(
                f"config {key} of {_RESOURCE_TYPES[ConfigResourceType(resource_type)]} '{name or '(all)'}'"
            )
        else:
            usable[key] = value
    return usable


# Writing


async def write_import(
    store: MetadataStore, cluster_id: str, entries: Mapping[str, bytes], log_extent: Mapping[str, int]
) -> None:
    """Fill a store that has no cluster yet; see the module's docstring. ``log_extent`` is for ``ran_since``.

    StoreError if there is a cluster meanwhile, or another attempt; StoreUnavailableError, and then it is to be
    repeated from the start.
    """
    mark = await _begin(store)
    puts = [Put(key, value) for key, value in entries.items()]
    room = TRANSACTION_OPERATIONS_MAX - 1
    for at in range(0, len(puts), room):
        await _commit(store, [Compare(keys.KAFKA_IMPORT_BEGUN_KEY, mark)], puts[at : at + room])
    await _commit(
        store,
        [Compare(keys.KAFKA_IMPORT_BEGUN_KEY, mark), Compare(keys.CLUSTER_KEY, ABSENT)],
        [
            Put(keys.CLUSTER_KEY, keys.encode_cluster(cluster_id)),
            Put(keys.KAFKA_IMPORT_KEY, _encode_extent(log_extent)),
            Delete(keys.KAFKA_IMPORT_BEGUN_KEY),
        ],
    )


async def _begin(store: MetadataStore) -> int:
    """Set the mark; the revision that it has now."""
    found = await store.get(keys.KAFKA_IMPORT_BEGUN_KEY)
    result = await store.transact(
        [
            Compare(keys.CLUSTER_KEY, ABSENT),
            Compare(keys.KAFKA_IMPORT_BEGUN_KEY, ABSENT if found is None else found.mod_revision),
        ],
        [
            *(
                DeletePrefix(prefix)
                for prefix in (
                    keys.TOPICS_PREFIX,
                    keys.PARTITIONS_PREFIX,
                    keys.CONFIGS_PREFIX,
                    keys.CLIENT_QUOTAS_PREFIX,
                )
            ),
            Put(keys.KAFKA_IMPORT_BEGUN_KEY, b"{}"),
        ],
    )
    if not result.succeeded:
        raise _overtaken()
    return result.revision


async def _commit(
    store: MetadataStore, compares: Sequence[Compare], operations: Sequence[Put | Delete]
) -> None:
    if not (await store.transact(compares, operations)).succeeded:
        raise _overtaken()


def _overtaken() -> StoreError:
    return StoreError(
        "somebody else has begun to write the cluster's metadata while Apache Kafka's was imported"
    )


async def ran_since(store: MetadataStore, log_extent: Mapping[str, int]) -> bool:
    """Whether Apache Kafka has written to its metadata after the import; ``log_extent`` is its log as it is now."""
    found = await store.get(keys.KAFKA_IMPORT_KEY)
    return found is not None and found.value != _encode_extent(log_extent)


async def remember_extent(store: MetadataStore, log_extent: Mapping[str, int]) -> None:
    """From now on ``ran_since`` is about this extent: Apache Kafka may be about to run."""
    await store.transact([], [Put(keys.KAFKA_IMPORT_KEY, _encode_extent(log_extent))])


def _encode_extent(log_extent: Mapping[str, int]) -> bytes:
    return json.dumps({"version": keys.VALUE_VERSION, "log": dict(sorted(log_extent.items()))}).encode()
