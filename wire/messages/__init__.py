"""The messages of Kafka's protocol: one module per family of APIs, and the table of all of them.

`API_KEYS` says what each API is called, where it is declared and which versions it has, without importing any
of the families: a family is imported when one of its classes is first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wire.schema import Request, Response


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API of the protocol. Versions are those that the codec reads and writes, both ends included."""

    key: int
    name: str
    module: str
    min_version: int
    max_version: int
    flexible_version: int | None

    @property
    def advertised_min_version(self) -> int:
        """What ApiVersions says: Produce from 0, because librdkafka looks for that (KAFKA-18659)."""
        return 0 if self.name == "Produce" else self.min_version

    def is_flexible(self, version: int) -> bool:
        """Whether the version has compact lengths and tagged fields (KIP-482)."""
        return self.flexible_version is not None and version >= self.flexible_version


@cache
def request_class(api_key: int) -> type[Request]:
    """The class of the API's requests. Raises KeyError when there is no such API."""
    api = API_KEYS[api_key]
    found: type[Request] = getattr(import_module(f"wire.messages.{api.module}"), f"{api.name}Request")
    return found


@cache
def response_class(api_key: int) -> type[Response]:
    """The class of the API's responses. Raises KeyError when there is no such API."""
    api = API_KEYS[api_key]
    found: type[Response] = getattr(import_module(f"wire.messages.{api.module}"), f"{api.name}Response")
    return found


_APIS = (
    ApiKey(0, "Produce", "produce", 3, 13, 9),
    ApiKey(1, "Fetch", "fetch", 4, 18, 12),
    ApiKey(2, "ListOffsets", "offsets", 1, 11, 6),
    ApiKey(3, "Metadata", "metadata", 0, 13, 9),
    ApiKey(8, "OffsetCommit", "group_offsets", 2, 10, 8),
    ApiKey(9, "OffsetFetch", "group_offsets", 1, 10, 6),
    ApiKey(10, "FindCoordinator", "groups", 0, 6, 3),
    ApiKey(11, "JoinGroup", "group_membership", 0, 9, 6),
    ApiKey(12, "Heartbeat", "group_membership", 0, 4, 4),
    ApiKey(13, "LeaveGroup", "group_membership", 0, 5, 4),
    ApiKey(14, "SyncGroup", "group_membership", 0, 5, 4),
    ApiKey(15, "DescribeGroups", "groups", 0, 6, 5),
    ApiKey(16, "ListGroups", "groups", 0, 5, 3),
    ApiKey(17, "SaslHandshake", "authentication", 0, 1, None),
    ApiKey(18, "ApiVersions", "api_versions", 0, 5, 3),
    ApiKey(19, "CreateTopics", "topics", 2, 7, 5),
    ApiKey(20, "DeleteTopics", "topics", 1, 6, 4),
    ApiKey(21, "DeleteRecords", "offsets", 0, 2, 2),
    ApiKey(22, "InitProducerId", "producer_ids", 0, 6, 2),
    ApiKey(23, "OffsetForLeaderEpoch", "offsets", 2, 4, 4),
    ApiKey(24, "AddPartitionsToTxn", "transactions", 0, 5, 3),
    ApiKey(25, "AddOffsetsToTxn", "transactions", 0, 4, 3),
    ApiKey(26, "EndTxn", "transactions", 0, 5, 3),
    ApiKey(27, "WriteTxnMarkers", "transactions", 1, 2, 1),
    ApiKey(28, "TxnOffsetCommit", "transactions", 0, 6, 3),
    ApiKey(29, "DescribeAcls", "acls", 1, 3, 2),
    ApiKey(30, "CreateAcls", "acls", 1, 3, 2),
    ApiKey(31, "DeleteAcls", "acls", 1, 3, 2),
    ApiKey(32, "DescribeConfigs", "configs", 1, 4, 4),
    ApiKey(33, "AlterConfigs", "configs", 0, 2, 2),
    ApiKey(34, "AlterReplicaLogDirs", "log_dirs", 1, 2, 2),
    ApiKey(35, "DescribeLogDirs", "log_dirs", 1, 5, 2),
    ApiKey(36, "SaslAuthenticate", "authentication", 0, 2, 2),
    ApiKey(37, "CreatePartitions", "topics", 0, 3, 2),
    ApiKey(38, "CreateDelegationToken", "delegation_tokens", 1, 3, 2),
    ApiKey(39, "RenewDelegationToken", "delegation_tokens", 1, 2, 2),
    ApiKey(40, "ExpireDelegationToken", "delegation_tokens", 1, 2, 2),
    ApiKey(41, "DescribeDelegationToken", "delegation_tokens", 1, 3, 2),
    ApiKey(42, "DeleteGroups", "groups", 0, 3, 2),
    ApiKey(43, "ElectLeaders", "reassignments", 0, 2, 2),
    ApiKey(44, "IncrementalAlterConfigs", "configs", 0, 1, 1),
    ApiKey(45, "AlterPartitionReassignments", "reassignments", 0, 1, 0),
    ApiKey(46, "ListPartitionReassignments", "reassignments", 0, 0, 0),
    ApiKey(47, "OffsetDelete", "group_offsets", 0, 0, None),
    ApiKey(48, "DescribeClientQuotas", "client_quotas", 0, 1, 1),
    ApiKey(49, "AlterClientQuotas", "client_quotas", 0, 1, 1),
    ApiKey(50, "DescribeUserScramCredentials", "scram_credentials", 0, 0, 0),
    ApiKey(51, "AlterUserScramCredentials", "scram_credentials", 0, 0, 0),
    ApiKey(52, "Vote", "quorum", 0, 2, 0),
    ApiKey(53, "BeginQuorumEpoch", "quorum", 0, 1, 1),
    ApiKey(54, "EndQuorumEpoch", "quorum", 0, 1, 1),
    ApiKey(55, "DescribeQuorum", "quorum", 0, 2, 0),
    ApiKey(56, "AlterPartition", "reassignments", 2, 3, 2),
    ApiKey(57, "UpdateFeatures", "features", 0, 2, 0),
    ApiKey(58, "Envelope", "broker_lifecycle", 0, 0, 0),
    ApiKey(59, "FetchSnapshot", "quorum", 0, 1, 0),
    ApiKey(60, "DescribeCluster", "metadata", 0, 2, 0),
    ApiKey(61, "DescribeProducers", "transactions", 0, 0, 0),
    ApiKey(62, "BrokerRegistration", "broker_lifecycle", 0, 4, 0),
    ApiKey(63, "BrokerHeartbeat", "broker_lifecycle", 0, 2, 0),
    ApiKey(64, "UnregisterBroker", "broker_lifecycle", 0, 0, 0),
    ApiKey(65, "DescribeTransactions", "transactions", 0, 0, 0),
    ApiKey(66, "ListTransactions", "transactions", 0, 2, 0),
    ApiKey(67, "AllocateProducerIds", "producer_ids", 0, 0, 0),
    ApiKey(68, "ConsumerGroupHeartbeat", "consumer_groups", 0, 1, 0),
    ApiKey(69, "ConsumerGroupDescribe", "consumer_groups", 0, 1, 0),
    ApiKey(70, "ControllerRegistration", "broker_lifecycle", 0, 0, 0),
    ApiKey(71, "GetTelemetrySubscriptions", "telemetry", 0, 0, 0),
    ApiKey(72, "PushTelemetry", "telemetry", 0, 0, 0),
    ApiKey(73, "AssignReplicasToDirs", "log_dirs", 0, 0, 0),
    ApiKey(74, "ListConfigResources", "configs", 0, 1, 0),
    ApiKey(75, "DescribeTopicPartitions", "metadata", 0, 0, 0),
    ApiKey(76, "ShareGroupHeartbeat", "share_groups", 1, 1, 1),
    ApiKey(77, "ShareGroupDescribe", "share_groups", 1, 1, 1),
    ApiKey(78, "ShareFetch", "share_groups", 1, 2, 1),
    ApiKey(79, "ShareAcknowledge", "share_groups", 1, 2, 1),
    ApiKey(80, "AddRaftVoter", "quorum", 0, 1, 0),
    ApiKey(81, "RemoveRaftVoter", "quorum", 0, 0, 0),
    ApiKey(82, "UpdateRaftVoter", "quorum", 0, 0, 0),
    ApiKey(83, "InitializeShareGroupState", "share_group_state", 0, 0, 0),
    ApiKey(84, "ReadShareGroupState", "share_group_state", 0, 0, 0),
    ApiKey(85, "WriteShareGroupState", "share_group_state", 0, 1, 0),
    ApiKey(86, "DeleteShareGroupState", "share_group_state", 0, 0, 0),
    ApiKey(87, "ReadShareGroupStateSummary", "share_group_state", 0, 1, 0),
    ApiKey(88, "StreamsGroupHeartbeat", "streams_groups", 0, 0, 0),
    ApiKey(89, "StreamsGroupDescribe", "streams_groups", 0, 0, 0),
    ApiKey(90, "DescribeShareGroupOffsets", "share_groups", 0, 1, 0),
    ApiKey(91, "AlterShareGroupOffsets", "share_groups", 0, 0, 0),
    ApiKey(92, "DeleteShareGroupOffsets", "share_groups", 0, 0, 0),
)

API_KEYS: dict[int, ApiKey] = {api.key: api for api in _APIS}
"""Every API that the codec knows, by its key."""
