"""Apache Kafka's metadata becomes ours: what the keys say, and that it is all of them or none, whatever is cut off."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.rules import KafkaConfigRules
from kbroker.metadata import keys
from kbroker.metadata.embedded import IN_MEMORY, EmbeddedMetadataStore
from kbroker.metadata.feature_decisions import METADATA_VERSION, SUPPORTED_FEATURES, TRANSACTION_VERSION
from kbroker.metadata.image import ClusterImage, PartitionState
from kbroker.metadata.image_update import read_image
from kbroker.metadata.kraft_image import KraftImage, KraftMetadataError
from kbroker.metadata.kraft_import import Import, counts_of, imported, ran_since, write_import
from kbroker.metadata.membership import ensure_cluster_id
from kbroker.metadata.store import (
    Compare,
    MetadataStore,
    Operation,
    Put,
    StoreError,
    StoreUnavailableError,
    TransactionResult,
)
from tests.kbroker.metadata.cluster import run_inline
from wire.internal.cluster_metadata import (
    ClientQuotaRecord,
    ConfigRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionRecord,
    ProducerIdsRecord,
    TopicRecord,
    UserScramCredentialRecord,
)

TOPIC = UUID(int=77)
RULES = KafkaConfigRules(BrokerConfig({}))
EXTENT = {"00000000000000000000.log": 4051, "00000000000000000059.log": 72}


@pytest.fixture
async def store() -> AsyncIterator[EmbeddedMetadataStore]:
    opened = await EmbeddedMetadataStore.open(IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time)
    yield opened
    await opened.close()


def image_of(*records: MetadataRecord) -> KraftImage:
    image = KraftImage()
    for record in records:
        image.replay(record)
    return image


def topic(name: str, *states: PartitionRecord, topic_id: UUID = TOPIC) -> list[MetadataRecord]:
    found: list[MetadataRecord] = [TopicRecord(name=name, topic_id=topic_id)]
    for index, state in enumerate(states):
        state.topic_id, state.partition_id = topic_id, index
        found.append(state)
    return found


def partition(replicas: Sequence[int], isr: Sequence[int], leader: int, **more: object) -> PartitionRecord:
    return PartitionRecord(
        replicas=list(replicas), isr=list(isr), leader=leader, leader_epoch=3, partition_epoch=8, **more
    )


async def cluster_of(store: MetadataStore, image: KraftImage) -> ClusterImage:
    await write_import(store, "cluster", imported(image, 6, RULES).entries, EXTENT)
    return read_image(await store.range(""))


# What the keys say


async def test_topics_keep_id_partitions_and_configs(store: EmbeddedMetadataStore) -> None:
    image = image_of(
        *topic("a.topic", *[partition([1], [1], 1) for _ in range(300)]),
        ConfigRecord(resource_type=2, resource_name="a.topic", name="retention.ms", value="5"),
        ConfigRecord(resource_type=4, resource_name="", name="log.cleaner.threads", value="2"),
        ConfigRecord(resource_type=4, resource_name="1", name="message.max.bytes", value="77"),
        ProducerIdsRecord(next_producer_id=5000),
        ClientQuotaRecord(
            entity=[ClientQuotaRecord.EntityData(entity_type="user", entity_name="u")],
            key="producer_byte_rate",
            value=5.0,
        ),
    )
    found = await cluster_of(store, image)
    assert found.cluster_id == "cluster"
    assert found.client_quotas == {(("user", "u"),): {"producer_byte_rate": 5.0}}
    assert found.topics["a.topic"].topic_id == TOPIC
    assert len(found.topics["a.topic"].partitions) == 300
    assert found.topic_config("a.topic") == {"retention.ms": "5"}
    assert found.config((4, "")) == {"log.cleaner.threads": "2"}
    assert found.broker_config(1) == {"message.max.bytes": "77"}
    producer_ids = await store.get(keys.PRODUCER_IDS_KEY)
    assert producer_ids is not None
    assert keys.decode_producer_ids(producer_ids.value) == 5000
    epoch = await store.get(keys.CONTROLLER_EPOCH_KEY)
    assert epoch is not None
    assert keys.decode_controller_epoch(epoch.value) == 6
    assert (
        str(counts_of(image))
        == "1 topics with 300 partitions, 3 configs, 1 client quotas, producer ids from 5000"
    )


@pytest.mark.parametrize(
    "state",
    [
        partition([1], [1], 1),
        partition([1], [], -1, eligible_leader_replicas=[1], last_known_elr=[1]),
        partition([1], [], -1, last_known_elr=[1], leader_recovery_state=1),
    ],
    ids=["killed", "stopped", "lost"],
)
async def test_an_only_replica_leads_in_a_new_epoch(
    store: EmbeddedMetadataStore, state: PartitionRecord
) -> None:
    """Whether Apache Kafka was stopped or killed, and whatever it thought of the replica."""
    found = await cluster_of(store, image_of(*topic("t", state)))
    after = found.topics["t"].partitions[0]
    assert after._replace(state_revision=0) == PartitionState(
        replicas=(1,), in_sync_replicas=(1,), leader=1, leader_epoch=4, partition_epoch=9
    )


async def test_with_several_replicas_the_state_is_kafkas(store: EmbeddedMetadataStore) -> None:
    states = [
        partition([1, 2, 3], [2, 3], 2, adding_replicas=[4], removing_replicas=[1]),
        partition([1, 2, 3], [], -1, eligible_leader_replicas=[3], last_known_elr=[2]),
        partition([1, 2, 3], [1], 1, leader_recovery_state=1),
    ]
    found = await cluster_of(store, image_of(*topic("t", *states)))
    assert [state._replace(state_revision=0) for state in found.topics["t"].partitions] == [
        PartitionState((1, 2, 3), (2, 3), 2, 3, 8, adding_replicas=(4,), removing_replicas=(1,)),
        PartitionState(
            (1, 2, 3),
            (),
            -1,
            3,
            8,
            eligible_leader_replicas=(3,),
            last_known_eligible_leader_replicas=(2,),
        ),
        PartitionState((1, 2, 3), (1,), 1, 3, 8, is_recovering=True),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({METADATA_VERSION: 20, TRANSACTION_VERSION: 1}, {METADATA_VERSION: 20, TRANSACTION_VERSION: 1}),
        ({METADATA_VERSION: 99}, {METADATA_VERSION: SUPPORTED_FEATURES[METADATA_VERSION][1]}),
        ({METADATA_VERSION: 20, TRANSACTION_VERSION: 99}, {METADATA_VERSION: 20, TRANSACTION_VERSION: 2}),
        ({METADATA_VERSION: 20, "no.such.feature": 1}, {METADATA_VERSION: 20}),
        ({}, {METADATA_VERSION: SUPPORTED_FEATURES[METADATA_VERSION][0]}),
    ],
)
async def test_feature_levels_are_kafkas_as_far_as_ours_go(
    store: EmbeddedMetadataStore, given: dict[str, int], kept: dict[str, int]
) -> None:
    image = image_of(*(FeatureLevelRecord(name=name, feature_level=level) for name, level in given.items()))
    assert (await cluster_of(store, image)).features == kept


def test_what_cannot_be_kept_is_named_without_its_value() -> None:
    def config(kind: int, resource: str, name: str, value: str) -> ConfigRecord:
        return ConfigRecord(resource_type=kind, resource_name=resource, name=name, value=value)

    found = imported(
        image_of(
            *topic("t", partition([1], [1], 1)),
            config(2, "t", "no.such.config", "secret"),
            config(2, "t", "retention.ms", "not a number"),
            config(2, "t", "max.message.bytes", "7"),
            config(2, "of a topic that is gone", "retention.ms", "1"),
            config(4, "", "node.id", "secret"),
            config(8, "1", "some.logger", "INFO"),
            UserScramCredentialRecord(name="u", mechanism=1),
        ),
        1,
        RULES,
    )
    assert sorted(found.losses) == [
        "1 configs of resource type 8",
        "SCRAM credentials: 1",
        "config no.such.config of topic 't'",
        "config node.id of broker '(all)'",
        "config retention.ms of topic 't'",
    ]
    assert keys.decode_config("", found.entries["configs/topic/t"]) == {"max.message.bytes": "7"}
    assert sorted(key for key in found.entries if key.startswith("configs/")) == ["configs/topic/t"]


def test_what_would_lose_records_is_refused() -> None:
    colliding = image_of(
        *topic("a.b", partition([1], [1], 1)), *topic("a_b", partition([1], [1], 1), topic_id=UUID(int=2))
    )
    with pytest.raises(KraftMetadataError, match=r"'a_b' and 'a\.b' differ only"):
        imported(colliding, 1, RULES)
    gap = image_of(*topic("t", partition([1], [1], 1)))
    gap.topics[TOPIC].partitions = {1: gap.topics[TOPIC].partitions[0]}
    with pytest.raises(KraftMetadataError, match="'t' has no partition"):
        imported(gap, 1, RULES)


# All of it or nothing


class Breaking:
    """A store that breaks before, or just after, its n-th transaction."""

    def __init__(self, store: MetadataStore, breaks_at: int, *, takes_effect: bool) -> None:
        self._store = store
        self._left = breaks_at
        self._takes_effect = takes_effect
        self.get = store.get
        self.range = store.range

    async def transact(
        self, compares: Sequence[Compare], operations: Sequence[Operation]
    ) -> TransactionResult:
        self._left -= 1
        if self._left == 0:
            if self._takes_effect:
                await self._store.transact(compares, operations)
            raise StoreUnavailableError("broken")
        return await self._store.transact(compares, operations)


def large_import() -> Import:
    """More than three transactions' worth."""
    quota = ClientQuotaRecord(
        entity=[ClientQuotaRecord.EntityData(entity_type="user", entity_name="u")],
        key="request_percentage",
        value=1.0,
    )
    return imported(image_of(*topic("t", *[partition([1], [1], 1) for _ in range(400)]), quota), 1, RULES)


def as_read(image: ClusterImage) -> tuple[object, ...]:
    topics = {
        name: (found.topic_id, [state._replace(state_revision=0) for state in found.partitions])
        for name, found in image.topics.items()
    }
    return image.cluster_id, topics, image.configs, image.features, image.client_quotas


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_cut_off_anywhere_it_begins_anew(tmp_path: Path, takes_effect: bool) -> None:
    """With every transaction lost in turn, or only its answer: until it is done there is no cluster, and then all."""

    async def opened(path: Path) -> EmbeddedMetadataStore:
        return await EmbeddedMetadataStore.open(
            str(path), run_blocking=run_inline, monotonic=trio.current_time
        )

    first = large_import()
    # What was begun is another thing than what is done in the end: nothing of it may be left.
    was_there = topic("was.there", partition([1], [1], 1), topic_id=UUID(int=5))
    other = imported(image_of(*was_there), 1, RULES)
    broke = 0
    for breaks_at in range(1, 20):
        path = tmp_path / f"{breaks_at}.sqlite"
        store = await opened(path)
        try:
            await write_import(
                Breaking(store, breaks_at, takes_effect=takes_effect), "c", first.entries, EXTENT
            )  # type: ignore[arg-type]
        except StoreUnavailableError:
            broke += 1
        else:
            await store.close()
            break
        is_done = await store.get(keys.CLUSTER_KEY) is not None
        await store.close()
        store = await opened(path)
        if is_done:
            found, expected = read_image(await store.range("")), first
        else:
            await write_import(store, "c", other.entries, EXTENT)
            found, expected = read_image(await store.range("")), other
        fresh = await opened(tmp_path / f"{breaks_at}-fresh.sqlite")
        await write_import(fresh, "c", expected.entries, EXTENT)
        assert as_read(found) == as_read(read_image(await fresh.range("")))
        assert await store.get(keys.KAFKA_IMPORT_BEGUN_KEY) is None
        await store.close()
        await fresh.close()
    assert broke >= 5


async def test_nobody_begins_a_new_cluster_over_half_an_import(store: EmbeddedMetadataStore) -> None:
    broken = Breaking(store, 3, takes_effect=True)
    with pytest.raises(StoreUnavailableError):
        await write_import(broken, "c", large_import().entries, EXTENT)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="has begun and has not ended"):
        await ensure_cluster_id(store, uuid4=uuid.uuid4)
    assert await store.get(keys.CLUSTER_KEY) is None
    await write_import(store, "c", large_import().entries, EXTENT)
    assert await ensure_cluster_id(store, uuid4=uuid.uuid4) == "c"


async def test_a_cluster_that_is_there_is_not_touched(store: EmbeddedMetadataStore) -> None:
    await ensure_cluster_id(store, uuid4=uuid.uuid4, wanted="mine")
    await store.transact([], [Put("topics/kept", b"{}")])
    before = await store.range("")
    with pytest.raises(StoreError, match="somebody else"):
        await write_import(store, "c", large_import().entries, EXTENT)
    assert await store.range("") == before


async def test_of_two_imports_at_once_one_wins_whole(store: EmbeddedMetadataStore) -> None:
    """The later one to begin: what the other writes afterwards is refused."""
    one, two = large_import(), imported(image_of(*topic("u", partition([1], [1], 1))), 1, RULES)

    class Overtaken(Breaking):
        async def transact(
            self, compares: Sequence[Compare], operations: Sequence[Operation]
        ) -> TransactionResult:
            self._left -= 1
            if self._left == 0:
                await write_import(self._store, "c", two.entries, EXTENT)
            return await self._store.transact(compares, operations)

    for overtaken_at in (2, 3, 5):
        other = await EmbeddedMetadataStore.open(
            IN_MEMORY, run_blocking=run_inline, monotonic=trio.current_time
        )
        with pytest.raises(StoreError, match="somebody else"):
            await write_import(Overtaken(other, overtaken_at, takes_effect=True), "c", one.entries, EXTENT)  # type: ignore[arg-type]
        found = read_image(await other.range(""))
        assert list(found.topics) == ["u"]
        await other.close()


async def test_it_is_noticed_that_kafka_has_run_since(store: EmbeddedMetadataStore) -> None:
    assert not await ran_since(store, EXTENT)
    await write_import(store, "c", large_import().entries, EXTENT)
    assert not await ran_since(store, dict(reversed(EXTENT.items())))
    assert await ran_since(store, {**EXTENT, "00000000000000000000.log": 4052})
    assert await ran_since(store, {**EXTENT, "00000000000000000099.log": 0})
