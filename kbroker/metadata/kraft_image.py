"""What the records of `__cluster_metadata` come to: the cluster as Apache Kafka's controllers knew it.

Replays records in order, as the images of Kafka's own metadata loader do (`TopicsDelta`, `ConfigurationsDelta`,
`FeaturesDelta`, `ClientQuotasDelta`, `ProducerIdsDelta`). Records between the begin of a metadata transaction and its
end count once the end has come (KIP-868). No I/O: ``kbroker.metadata.kraft_log`` reads the files.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final
from uuid import UUID

from kbroker.config.resources import ConfigResourceType
from kbroker.metadata.image import ConfigResource, PartitionState
from kbroker.quotas.entities import ClientQuotaEntity, entity_of
from wire.errors import ProtocolError
from wire.internal import cluster_metadata as records
from wire.internal.cluster_metadata import NO_CHANGE, MetadataRecord

_RECOVERING: Final = 1

ACCESS_CONTROL_ENTRIES: Final = "access control entries"
SCRAM_CREDENTIALS: Final = "SCRAM credentials"
DELEGATION_TOKENS: Final = "delegation tokens"


class KraftMetadataError(ProtocolError):
    """Records that contradict one another, or that this kbroker cannot follow."""


class KraftTopic:
    """A topic; ``partitions`` by index. States are as recorded, directories left out."""

    __slots__ = ("name", "partitions", "topic_id")

    def __init__(self, name: str, topic_id: UUID) -> None:
        self.name = name
        self.topic_id = topic_id
        self.partitions: dict[int, PartitionState] = {}


class KraftImage:
    """The state after all records that ``replay`` was given.

    ``others`` are the things that kbroker keeps no record of, by kind (`ACCESS_CONTROL_ENTRIES` and the like).
    """

    def __init__(self) -> None:
        self.topics: dict[UUID, KraftTopic] = {}
        self.configs: dict[ConfigResource, dict[str, str]] = {}
        self.client_quotas: dict[ClientQuotaEntity, dict[str, float]] = {}
        self.features: dict[str, int] = {}
        self.next_producer_id = 0
        self.others: dict[str, dict[Hashable, None]] = {
            kind: {} for kind in (ACCESS_CONTROL_ENTRIES, SCRAM_CREDENTIALS, DELEGATION_TOKENS)
        }
        self._pending: list[MetadataRecord] | None = None

    def replay(self, record: MetadataRecord) -> None:
        """Take in the next record. KraftMetadataError if it cannot follow those before."""
        if isinstance(record, records.BeginTransactionRecord):
            if self._pending is not None:
                raise KraftMetadataError("a metadata transaction begins within another")
            self._pending = []
        elif isinstance(record, (records.EndTransactionRecord, records.AbortTransactionRecord)):
            pending, self._pending = self._pending, None
            if pending is None:
                raise KraftMetadataError("a metadata transaction ends that has not begun")
            if isinstance(record, records.EndTransactionRecord):
                for held in pending:
                    self._apply(held)
        elif self._pending is not None:
            self._pending.append(record)
        else:
            self._apply(record)

    def _apply(self, record: MetadataRecord) -> None:
        _APPLY[type(record)](self, record)

    # Topics and partitions

    def _topic(self, record: records.TopicRecord) -> None:
        self.topics[record.topic_id] = KraftTopic(record.name, record.topic_id)

    def _remove_topic(self, record: records.RemoveTopicRecord) -> None:
        topic = self._known_topic(record.topic_id)
        del self.topics[record.topic_id]
        self.configs.pop((ConfigResourceType.TOPIC, topic.name), None)

    def _partition(self, record: records.PartitionRecord) -> None:
        self._known_topic(record.topic_id).partitions[record.partition_id] = PartitionState(
            replicas=tuple(record.replicas),
            in_sync_replicas=tuple(record.isr),
            leader=record.leader,
            leader_epoch=record.leader_epoch,
            partition_epoch=record.partition_epoch,
            eligible_leader_replicas=tuple(record.eligible_leader_replicas or ()),
            last_known_eligible_leader_replicas=tuple(record.last_known_elr or ()),
            adding_replicas=tuple(record.adding_replicas),
            removing_replicas=tuple(record.removing_replicas),
            is_recovering=record.leader_recovery_state == _RECOVERING,
        )

    def _change_partition(self, record: records.PartitionChangeRecord) -> None:
        partitions = self._known_topic(record.topic_id).partitions
        before = partitions.get(record.partition_id)
        if before is None:
            raise KraftMetadataError(f"partition {record.partition_id} of {record.topic_id} is not there")
        changes: dict[str, Any] = {"partition_epoch": before.partition_epoch + 1}
        for name, node_ids in (
            ("replicas", record.replicas),
            ("in_sync_replicas", record.isr),
            ("removing_replicas", record.removing_replicas),
            ("adding_replicas", record.adding_replicas),
            ("eligible_leader_replicas", record.eligible_leader_replicas),
            ("last_known_eligible_leader_replicas", record.last_known_elr),
        ):
            if node_ids is not None:
                changes[name] = tuple(node_ids)
        if record.leader != NO_CHANGE:
            # Also when it is the same one: that is how Kafka has a leader begin a new epoch.
            changes["leader"] = record.leader
            changes["leader_epoch"] = before.leader_epoch + 1
        if record.leader_recovery_state >= 0:
            changes["is_recovering"] = record.leader_recovery_state == _RECOVERING
        partitions[record.partition_id] = before._replace(**changes)

    def _clear_eligible(self, record: records.ClearElrRecord) -> None:
        for topic in self.topics.values():
            if record.topic_name in ("", topic.name):
                for index, state in topic.partitions.items():
                    topic.partitions[index] = state._replace(
                        eligible_leader_replicas=(), last_known_eligible_leader_replicas=()
                    )

    def _known_topic(self, topic_id: UUID) -> KraftTopic:
        topic = self.topics.get(topic_id)
        if topic is None:
            raise KraftMetadataError(f"there is no topic {topic_id}")
        return topic

    # Everything else

    def _config(self, record: records.ConfigRecord) -> None:
        resource = (record.resource_type, record.resource_name)
        entries = self.configs.setdefault(resource, {})
        if record.value is not None:
            entries[record.name] = record.value
        else:
            entries.pop(record.name, None)
            if not entries:
                del self.configs[resource]

    def _feature(self, record: records.FeatureLevelRecord) -> None:
        if record.feature_level:
            self.features[record.name] = record.feature_level
        else:
            self.features.pop(record.name, None)

    def _producer_ids(self, record: records.ProducerIdsRecord) -> None:
        self.next_producer_id = record.next_producer_id

    def _note(self, kind: str, identity: Hashable, *, is_there: bool) -> None:
        if is_there:
            self.others[kind][identity] = None
        else:
            self.others[kind].pop(identity, None)

    def _quota(self, record: records.ClientQuotaRecord) -> None:
        entity = entity_of({part.entity_type: part.entity_name for part in record.entity})
        quotas = self.client_quotas.setdefault(entity, {})
        if not record.remove:
            quotas[record.key] = record.value
        else:
            quotas.pop(record.key, None)
            if not quotas:
                del self.client_quotas[entity]


_APPLY: Final[dict[type[MetadataRecord], Callable[[KraftImage, Any], None]]] = {
    records.TopicRecord: KraftImage._topic,
    records.RemoveTopicRecord: KraftImage._remove_topic,
    records.PartitionRecord: KraftImage._partition,
    records.PartitionChangeRecord: KraftImage._change_partition,
    records.ClearElrRecord: KraftImage._clear_eligible,
    records.ConfigRecord: KraftImage._config,
    records.FeatureLevelRecord: KraftImage._feature,
    records.ProducerIdsRecord: KraftImage._producer_ids,
    records.ClientQuotaRecord: KraftImage._quota,
    records.AccessControlEntryRecord: lambda image, record: image._note(
        ACCESS_CONTROL_ENTRIES, record.id, is_there=True
    ),
    records.RemoveAccessControlEntryRecord: lambda image, record: image._note(
        ACCESS_CONTROL_ENTRIES, record.id, is_there=False
    ),
    records.UserScramCredentialRecord: lambda image, record: image._note(
        SCRAM_CREDENTIALS, (record.name, record.mechanism), is_there=True
    ),
    records.RemoveUserScramCredentialRecord: lambda image, record: image._note(
        SCRAM_CREDENTIALS, (record.name, record.mechanism), is_there=False
    ),
    records.DelegationTokenRecord: lambda image, record: image._note(
        DELEGATION_TOKENS, record.token_id, is_there=True
    ),
    records.RemoveDelegationTokenRecord: lambda image, record: image._note(
        DELEGATION_TOKENS, record.token_id, is_there=False
    ),
}
