"""What metadata records come to, one after the other."""

from __future__ import annotations

from uuid import UUID

import pytest

from kbroker.metadata.image import PartitionState
from kbroker.metadata.kraft_image import (
    ACCESS_CONTROL_ENTRIES,
    DELEGATION_TOKENS,
    SCRAM_CREDENTIALS,
    KraftImage,
    KraftMetadataError,
)
from wire.internal.cluster_metadata import (
    AbortTransactionRecord,
    AccessControlEntryRecord,
    BeginTransactionRecord,
    ClearElrRecord,
    ClientQuotaRecord,
    ConfigRecord,
    DelegationTokenRecord,
    EndTransactionRecord,
    FeatureLevelRecord,
    MetadataRecord,
    PartitionChangeRecord,
    PartitionRecord,
    ProducerIdsRecord,
    RemoveAccessControlEntryRecord,
    RemoveDelegationTokenRecord,
    RemoveTopicRecord,
    RemoveUserScramCredentialRecord,
    TopicRecord,
    UserScramCredentialRecord,
)

TOPIC, OTHER = UUID(int=1), UUID(int=2)


def replayed(*records: MetadataRecord) -> KraftImage:
    image = KraftImage()
    for record in records:
        image.replay(record)
    return image


def partition(index: int = 0, topic: UUID = TOPIC) -> PartitionRecord:
    return PartitionRecord(
        partition_id=index,
        topic_id=topic,
        replicas=[1, 2, 3],
        isr=[1, 2],
        leader=1,
        leader_epoch=4,
        partition_epoch=9,
        eligible_leader_replicas=[3],
    )


def changed(**changes: object) -> PartitionState:
    """The partition after one change record with these fields."""
    change = PartitionChangeRecord(partition_id=0, topic_id=TOPIC, **changes)
    image = replayed(TopicRecord(name="t", topic_id=TOPIC), partition(), change)
    return image.topics[TOPIC].partitions[0]


def test_a_partition_is_as_its_record_says() -> None:
    image = replayed(TopicRecord(name="t", topic_id=TOPIC), partition())
    assert image.topics[TOPIC].name == "t"
    assert image.topics[TOPIC].partitions == {
        0: PartitionState(
            replicas=(1, 2, 3),
            in_sync_replicas=(1, 2),
            leader=1,
            leader_epoch=4,
            partition_epoch=9,
            eligible_leader_replicas=(3,),
        )
    }


def test_every_change_raises_the_partition_epoch_and_leaves_the_rest() -> None:
    before = replayed(TopicRecord(name="t", topic_id=TOPIC), partition()).topics[TOPIC].partitions[0]
    assert changed() == before._replace(partition_epoch=10)
    assert changed(isr=[2]) == before._replace(partition_epoch=10, in_sync_replicas=(2,))


def test_a_leader_that_is_named_begins_an_epoch_even_if_it_is_the_same() -> None:
    assert (changed(leader=2).leader, changed(leader=2).leader_epoch) == (2, 5)
    assert (changed(leader=1).leader, changed(leader=1).leader_epoch) == (1, 5)
    assert (changed(leader=-1).leader, changed(leader=-1).leader_epoch) == (-1, 5)


def test_all_that_a_change_may_name() -> None:
    state = changed(
        isr=[],
        replicas=[4, 5],
        adding_replicas=[5],
        removing_replicas=[1],
        eligible_leader_replicas=[4],
        last_known_elr=[1],
        leader_recovery_state=1,
    )
    assert state == PartitionState(
        replicas=(4, 5),
        in_sync_replicas=(),
        leader=1,
        leader_epoch=4,
        partition_epoch=10,
        eligible_leader_replicas=(4,),
        last_known_eligible_leader_replicas=(1,),
        adding_replicas=(5,),
        removing_replicas=(1,),
        is_recovering=True,
    )


def test_recovery_ends_only_when_it_is_said() -> None:
    image = replayed(TopicRecord(name="t", topic_id=TOPIC), partition())
    for recovery, expected in ((1, True), (-1, True), (0, False)):
        image.replay(PartitionChangeRecord(partition_id=0, topic_id=TOPIC, leader_recovery_state=recovery))
        assert image.topics[TOPIC].partitions[0].is_recovering is expected


def test_a_removed_topic_takes_its_configs_along() -> None:
    config = ConfigRecord(resource_type=2, resource_name="t", name="retention.ms", value="1")
    image = replayed(
        TopicRecord(name="t", topic_id=TOPIC),
        config,
        RemoveTopicRecord(topic_id=TOPIC),
        TopicRecord(name="t", topic_id=OTHER),
    )
    assert image.configs == {}
    assert list(image.topics) == [OTHER]


def test_configs_are_set_and_removed() -> None:
    def config(name: str, value: str | None, resource: str = "t") -> ConfigRecord:
        return ConfigRecord(resource_type=2, resource_name=resource, name=name, value=value)

    image = replayed(config("a", "1"), config("b", "2"), config("a", "3"), config("c", "4", "u"))
    assert image.configs == {(2, "t"): {"a": "3", "b": "2"}, (2, "u"): {"c": "4"}}
    image.replay(config("b", None))
    image.replay(config("c", None, "u"))
    assert image.configs == {(2, "t"): {"a": "3"}}


def test_features_and_producer_ids_are_the_last_ones_said() -> None:
    image = replayed(
        FeatureLevelRecord(name="a", feature_level=1),
        FeatureLevelRecord(name="b", feature_level=2),
        FeatureLevelRecord(name="a", feature_level=3),
        FeatureLevelRecord(name="b", feature_level=0),
        ProducerIdsRecord(next_producer_id=1000),
        ProducerIdsRecord(next_producer_id=2000),
    )
    assert image.features == {"a": 3}
    assert image.next_producer_id == 2000


@pytest.mark.parametrize(("name", "cleared"), [("t", {TOPIC}), ("", {TOPIC, OTHER}), ("x", set())])
def test_eligible_replicas_are_cleared(name: str, cleared: set[UUID]) -> None:
    image = replayed(
        TopicRecord(name="t", topic_id=TOPIC),
        TopicRecord(name="u", topic_id=OTHER),
        partition(),
        partition(topic=OTHER),
        ClearElrRecord(topic_name=name),
    )
    for topic_id, topic in image.topics.items():
        assert topic.partitions[0].eligible_leader_replicas == (() if topic_id in cleared else (3,))


def test_a_transaction_counts_once_it_has_ended() -> None:
    image = replayed(BeginTransactionRecord(), ProducerIdsRecord(next_producer_id=5))
    assert image.next_producer_id == 0
    image.replay(EndTransactionRecord())
    assert image.next_producer_id == 5


def test_an_aborted_transaction_never_was() -> None:
    image = replayed(
        BeginTransactionRecord(),
        TopicRecord(name="t", topic_id=TOPIC),
        AbortTransactionRecord(),
        ProducerIdsRecord(next_producer_id=7),
    )
    assert (image.topics, image.next_producer_id) == ({}, 7)


def test_what_is_only_counted() -> None:
    image = replayed(
        AccessControlEntryRecord(id=TOPIC),
        AccessControlEntryRecord(id=OTHER),
        UserScramCredentialRecord(name="u", mechanism=1),
        UserScramCredentialRecord(name="u", mechanism=1),
        UserScramCredentialRecord(name="u", mechanism=2),
        DelegationTokenRecord(token_id="d"),
    )
    counts = {kind: len(found) for kind, found in image.others.items()}
    assert counts == {
        ACCESS_CONTROL_ENTRIES: 2,
        SCRAM_CREDENTIALS: 2,
        DELEGATION_TOKENS: 1,
    }
    for record in (
        RemoveAccessControlEntryRecord(id=TOPIC),
        RemoveUserScramCredentialRecord(name="u", mechanism=2),
        RemoveDelegationTokenRecord(token_id="d"),
    ):
        image.replay(record)
    assert [len(found) for found in image.others.values()] == [1, 1, 0]


def test_client_quotas_are_set_and_removed_by_key() -> None:
    entity = [
        ClientQuotaRecord.EntityData(entity_type="user", entity_name=None),
        ClientQuotaRecord.EntityData(entity_type="client-id", entity_name="c"),
    ]
    records = [
        ClientQuotaRecord(entity=entity, key="request_percentage", value=1.0),
        ClientQuotaRecord(entity=entity, key="request_percentage", value=2.0),
        ClientQuotaRecord(entity=entity, key="producer_byte_rate", value=3.0),
    ]
    expected = {"request_percentage": 2.0, "producer_byte_rate": 3.0}
    image = replayed(*records)
    assert image.client_quotas == {(("client-id", "c"), ("user", None)): expected}
    for key in expected:
        image.replay(ClientQuotaRecord(entity=entity, key=key, remove=True))
    assert image.client_quotas == {}


@pytest.mark.parametrize(
    "records",
    [
        [partition()],
        [RemoveTopicRecord(topic_id=TOPIC)],
        [TopicRecord(name="t", topic_id=TOPIC), PartitionChangeRecord(partition_id=0, topic_id=TOPIC)],
        [BeginTransactionRecord(), BeginTransactionRecord()],
        [EndTransactionRecord()],
        [AbortTransactionRecord()],
    ],
    ids=lambda records: " ".join(type(record).__name__ for record in records),
)
def test_records_that_contradict_those_before_are_refused(records: list[MetadataRecord]) -> None:
    with pytest.raises(KraftMetadataError):
        replayed(*records)
