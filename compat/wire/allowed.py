"""What may differ between two brokers that behave the same, and why. Everything else must be equal.

A rule normalises rather than ignores, where that can be done: ids are paired, one broker's with the other's, and must
stay paired through a case; times must lie within the case's run; addresses must be the broker's own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from compat.wire.comparison import Pairs, Rule
from compat.wire.scene import Scene
from compat.wire.served import NOT_SERVED_HERE, SERVED_HERE_ONLY
from wire.schema import ZERO_UUID

FEATURES_NOT_HERE = (
    "eligible.leader.replicas.version",
    "group.version",
    "kraft.version",
    "share.version",
    "streams.version",
)
SET_FOR_THE_REFERENCE = (
    "controller.listener.names",
    "controller.quorum.voters",
    "listeners",
    "log.dirs",
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
)
DYNAMIC_DEFAULT_BROKER_CONFIG, DEFAULT_CONFIG = 3, 5
CLOCK_SLACK_MS = 2_000
"""Brokers round times, and some they take a moment before."""
RUN_STARTED_MS = time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Id:
    """Values that stand for something: paired one to one. ``nothing`` are values that mean "none" and must be equal."""

    kind: str
    nothing: tuple[Hashable, ...] = ()

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool:
        if theirs in self.nothing or ours in self.nothing:
            return bool(theirs == ours)
        return type(theirs) is type(ours) and pairs.correspond(self.kind, theirs, ours)


@dataclass(frozen=True)
class IdInText:
    """Texts that are equal but for ids in them, each of which is paired."""

    kind: str
    pattern: re.Pattern[str]

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool:
        if not isinstance(theirs, str) or not isinstance(ours, str):
            return bool(theirs == ours)
        if self.pattern.sub("*", theirs) != self.pattern.sub("*", ours):
            return False
        found = zip(self.pattern.findall(theirs), self.pattern.findall(ours), strict=True)
        return [pairs.correspond(self.kind, one, other) for one, other in found].count(False) == 0


@dataclass(frozen=True)
class OwnAddress:
    """A host or port that is the broker's own becomes "its own"; any other stays what it is."""

    def reduce(self, value: Any, scene: Scene) -> Any:
        return "its own" if value in (scene.side.host, scene.side.port) else value


@dataclass(frozen=True)
class ByTheClock:
    """Times in ms that are equal, or that each broker took from its clock during this run."""

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool:
        now_ms = time.time_ns() // 1_000_000
        earliest, latest = RUN_STARTED_MS - CLOCK_SLACK_MS, now_ms + CLOCK_SLACK_MS
        return bool(theirs == ours) or (earliest <= theirs <= latest and earliest <= ours <= latest)


@dataclass(frozen=True)
class AnyOrder:
    """A list whose order says nothing: its elements by these fields, or sorted if they are no structures.

    ``merged`` is a list in each element: those of elements that share their key are put together.
    """

    fields: tuple[str, ...] = ()
    merged: str = ""

    def reduce(self, value: Any, scene: Scene) -> Any:
        if not isinstance(value, list):
            return value
        if not self.fields:
            return sorted(value)
        found: dict[str, Any] = {}
        for each in value:
            key = " ".join(_as_key(getattr(each, name), scene) for name in self.fields)
            if self.merged and key in found:
                getattr(found[key], self.merged).extend(getattr(each, self.merged))
                continue
            again = sum(1 for other in found if other == key or other.startswith(f"{key} again"))
            found[f"{key} again {again}" if again else key] = copy(each)
            if self.merged:
                setattr(found[key], self.merged, list(getattr(each, self.merged)))
        return found


def _as_key(value: object, scene: Scene) -> str:
    """Ids differ between brokers, the names that they stand for do not."""
    return scene.side.topic_names.get(value, str(value)) if isinstance(value, UUID) else str(value)


@dataclass(frozen=True)
class OnlyTheCases:
    """A list of all there is on the broker, of which only what has the case's token in its name is compared."""

    field: str

    def reduce(self, value: Any, scene: Scene) -> Any:
        if not isinstance(value, list):
            return value
        return [each for each in value if scene.token in str(getattr(each, self.field))]


@dataclass(frozen=True)
class AboveZero:
    """A number that must be there, whatever it is."""

    def reduce(self, value: Any, scene: Scene) -> Any:
        return "above zero" if isinstance(value, int) and value > 0 else value


@dataclass(frozen=True)
class Only:
    """Of a list those elements whose field has one of these values."""

    field: str
    values: frozenset[object]

    def reduce(self, value: Any, scene: Scene) -> Any:
        return [each for each in value if getattr(each, self.field) in self.values]


@dataclass(frozen=True)
class OursMaySay:
    """A text that Kafka leaves out and we may add; where Kafka says something, so must we."""

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool:
        return not theirs or bool(ours)


@dataclass(frozen=True)
class Something:
    """A value that must be there on both sides, whatever it is."""

    def reduce(self, value: Any, scene: Scene) -> Any:
        return "something" if value else value


@dataclass(frozen=True)
class Exactly:
    """One value there and another one here, and nothing else (but for equal ones)."""

    theirs: object
    ours: object

    def corresponds(self, theirs: Any, ours: Any, pairs: Pairs) -> bool:
        return bool(theirs == ours) or (theirs, ours) == (self.theirs, self.ours)


@dataclass(frozen=True)
class Without:
    """A list without elements whose field has one of these values, or begins with ``prefix``."""

    field: str
    values: frozenset[object] = frozenset()
    prefix: str | None = None

    def reduce(self, value: Any, scene: Scene) -> Any:
        return [each for each in value if not self._is_left_out(getattr(each, self.field))]

    def _is_left_out(self, found: object) -> bool:
        return found in self.values or (self.prefix is not None and str(found).startswith(self.prefix))


UUID_IN_TEXT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RULES = (
    Rule(
        "member ids end with a random UUID",
        ("*.member_id", "JoinGroupResponse.leader"),
        IdInText("member", UUID_IN_TEXT),
    ),
    Rule("topic ids are drawn at random", ("*.topic_id",), Id("topic id", (ZERO_UUID,))),
    Rule(
        "producer ids are the broker's to give",
        ("*.producer_id", "*.v3_and_below_producer_id", "*.producer_id_filters[]"),
        Id("producer id", (-1,)),
    ),
    Rule("fetch sessions are numbered at random", ("*.session_id",), Id("fetch session", (0,))),
    Rule(
        "each broker has an address of its own",
        (
            "MetadataResponse.brokers[].host",
            "MetadataResponse.brokers[].port",
            "DescribeClusterResponse.brokers[].host",
            "DescribeClusterResponse.brokers[].port",
            "FindCoordinatorResponse.host",
            "FindCoordinatorResponse.port",
            "FindCoordinatorResponse.coordinators[].host",
            "FindCoordinatorResponse.coordinators[].port",
            "ProduceResponse.node_endpoints[].host",
            "ProduceResponse.node_endpoints[].port",
            "FetchResponse.node_endpoints[].host",
            "FetchResponse.node_endpoints[].port",
        ),
        OwnAddress(),
    ),
    Rule(
        "partitions are looked up by topic and number; Kafka's order is that of hash tables",
        ("ProduceResponse.responses",),
        AnyOrder(("name", "topic_id")),
    ),
    Rule(
        "partitions are looked up by topic and number; Kafka's order is that of hash tables",
        ("ProduceResponse.responses[].partition_responses",),
        AnyOrder(("index",)),
    ),
    Rule(
        "partitions are looked up; Kafka begins a topic anew whenever the one before was another topic's",
        ("FetchResponse.responses",),
        AnyOrder(("topic", "topic_id"), merged="partitions"),
    ),
    Rule(
        "partitions are looked up; Kafka tells of those first that it refuses",
        (
            "FetchResponse.responses[].partitions",
            "ListOffsetsResponse.topics[].partitions",
            "DeleteRecordsResponse.topics[].partitions",
            "AddPartitionsToTxnResponse.*.results_by_partition",
            "AlterReplicaLogDirsResponse.results[].partitions",
            "WriteTxnMarkersResponse.markers[].topics[].partitions",
        ),
        AnyOrder(("partition_index",)),
    ),
    Rule(
        "lists of everything hold other cases' groups, too",
        ("ListGroupsResponse.groups",),
        OnlyTheCases("group_id"),
    ),
    Rule(
        "lists of everything hold other cases' transactions, too",
        ("ListTransactionsResponse.transaction_states",),
        OnlyTheCases("transactional_id"),
    ),
    Rule(
        "transactions are listed in any order",
        ("ListTransactionsResponse.transaction_states",),
        AnyOrder(("transactional_id",)),
    ),
    Rule(
        "lists of everything hold other cases' topics, too",
        ("DescribeLogDirsResponse.results[].topics",),
        OnlyTheCases("name"),
        cases="DescribeLogDirs: all",
    ),
    Rule(
        "partitions are looked up",
        ("DescribeLogDirsResponse.results[].topics[].partitions",),
        AnyOrder(("partition_index",)),
    ),
    Rule(
        "each broker has directories of its own",
        ("*.log_dir", "AlterReplicaLogDirsRequest.dirs[].path"),
        Id("log directory"),
    ),
    Rule(
        "the disk fills meanwhile",
        ("DescribeLogDirsResponse.results[].total_bytes", "DescribeLogDirsResponse.results[].usable_bytes"),
        Something(),
    ),
    Rule(
        "resources are looked up by type and name",
        (
            "DescribeConfigsResponse.results",
            "AlterConfigsResponse.responses",
            "IncrementalAlterConfigsResponse.responses",
        ),
        AnyOrder(("resource_type", "resource_name")),
    ),
    Rule(
        "lists of everything hold other cases' resources, too",
        ("ListConfigResourcesResponse.config_resources",),
        OnlyTheCases("resource_name"),
    ),
    Rule(
        "resources are listed in any order",
        ("ListConfigResourcesResponse.config_resources",),
        AnyOrder(("resource_type", "resource_name")),
    ),
    Rule("groups are listed in any order", ("ListGroupsResponse.groups",), AnyOrder(("group_id",))),
    Rule(
        "members are told in the order of a hash table; the cases give each metadata of its own",
        ("JoinGroupResponse.members",),
        AnyOrder(("metadata",)),
    ),
    Rule(
        "members are told in the order of a hash table; the cases give each another assignment, or metadata",
        ("DescribeGroupsResponse.groups[].members",),
        AnyOrder(("member_metadata", "member_assignment")),
    ),
    Rule(
        "a transaction's partitions are told in the order of a hash table",
        ("DescribeTransactionsResponse.transaction_states[].topics[].partitions",),
        AnyOrder(),
    ),
    Rule(
        "topics are looked up; Kafka's order is that of a hash table",
        (
            "AddPartitionsToTxnResponse.results_by_topic_v3_and_below",
            "AddPartitionsToTxnResponse.results_by_transaction[].topic_results",
        ),
        AnyOrder(("name",)),
    ),
    Rule(
        "how much is logged is set up where the brokers are started",
        ("DescribeConfigsResponse.*.configs[root].value",),
        Something(),
    ),
    Rule(
        "answers are looked up by the name of the group",
        ("DescribeGroupsResponse.groups", "DeleteGroupsResponse.results"),
        AnyOrder(("group_id",)),
    ),
    Rule(
        "partitions are looked up; Kafka tells of those first that it refuses",
        ("OffsetDeleteResponse.topics[].partitions",),
        AnyOrder(("partition_index",)),
    ),
    Rule(
        "topics may be deleted in any order",
        ("DeleteTopicsResponse.responses",),
        AnyOrder(("name", "topic_id")),
    ),
    Rule(
        "topics are looked up by name or id; Kafka tells those first that are there",
        ("MetadataResponse.topics",),
        AnyOrder(("name",)),
        but_not=("Metadata: all topics*",),
    ),
    Rule(
        "lists of everything hold other cases' topics, too",
        ("MetadataResponse.topics",),
        OnlyTheCases("name"),
        cases="Metadata: all topics*",
    ),
    Rule(
        "lists of everything hold other cases' topics, too",
        ("DescribeTopicPartitionsResponse.topics",),
        OnlyTheCases("name"),
        cases="DescribeTopicPartitions:*all topics",
    ),
    Rule(
        "test_apis.py holds who serves what",
        ("ApiVersionsResponse.api_keys",),
        Without("api_key", frozenset(NOT_SERVED_HERE) | frozenset(SERVED_HERE_ONLY)),
    ),
    Rule(
        "GAPS: failed appends carry an error message where Kafka's have none",
        ("ProduceResponse.responses[].partition_responses[].error_message",),
        OursMaySay(),
    ),
    Rule(
        "the broker's clock: of topics with the append time, and of transactions' markers",
        (
            "ProduceResponse.responses[].partition_responses[].log_append_time_ms",
            "FetchResponse.*.records[].base_timestamp",
            "FetchResponse.*.records[].max_timestamp",
            "ListOffsetsResponse.topics[].partitions[].timestamp",
            "DescribeTransactionsResponse.transaction_states[].transaction_start_time_ms",
            "DescribeProducersResponse.topics[].partitions[].active_producers[].last_timestamp",
        ),
        ByTheClock(),
    ),
    Rule(
        "another implementation of the codec; what it decompresses to is compared",
        ("FetchResponse.*.payload", "FetchResponse.*.batch_length"),
        Something(),
        cases="Produce: compressed *with *",
    ),
    Rule(
        "texts are for people, and in our own words",
        ("*.error_message", "*.batch_index_error_message", "*.documentation"),
        Something(),
        but_not=("CreateTopics: one that exists*",),
    ),
    Rule(
        "GAPS: there is no cluster-wide min.insync.replicas from ELR",
        ("*.configs[min.insync.replicas].config_source",),
        Exactly(theirs=DYNAMIC_DEFAULT_BROKER_CONFIG, ours=DEFAULT_CONFIG),
    ),
    Rule(
        "GAPS: there is no cluster-wide min.insync.replicas from ELR",
        ("*.configs[min.insync.replicas].synonyms",),
        Without("source", frozenset({DYNAMIC_DEFAULT_BROKER_CONFIG})),
    ),
    Rule(
        "compat/reference/server_properties.py: what a node of Apache Kafka, alone in its cluster, is started with",
        ("DescribeConfigsResponse.results[].configs",),
        Without("name", frozenset(SET_FOR_THE_REFERENCE)),
    ),
    Rule(
        "GAPS: DescribeConfigs lists kbroker's own keys (kbroker.*) too",
        ("DescribeConfigsResponse.results[].configs",),
        Without("name", prefix="kbroker."),
    ),
    Rule(
        "loggers are named after each implementation's own parts",
        ("DescribeConfigsResponse.results[].configs",),
        Only("name", frozenset({"root"})),
        cases="DescribeConfigs: the loggers",
    ),
    Rule(
        "levels are what each one's logging was configured to",
        ("DescribeConfigsResponse.results[].configs[root].value",),
        Something(),
    ),
    Rule(
        "the metadata's own log: how far it is, and when it got there",
        (
            "DescribeQuorumResponse.topics[].partitions[].leader_epoch",
            "DescribeQuorumResponse.topics[].partitions[].high_watermark",
            "DescribeQuorumResponse.topics[].partitions[].current_voters[].*",
        ),
        AboveZero(),
    ),
    Rule("keys are looked up by number", ("ApiVersionsResponse.api_keys",), AnyOrder(("api_key",))),
    Rule(
        "GAPS: features other than metadata.version and transaction.version are not there",
        ("ApiVersionsResponse.supported_features", "ApiVersionsResponse.finalized_features"),
        Without("name", frozenset(FEATURES_NOT_HERE)),
    ),
    Rule(
        "counts the changes of the cluster's metadata",
        ("ApiVersionsResponse.finalized_features_epoch",),
        AboveZero(),
    ),
    Rule(
        "features are looked up by name",
        ("ApiVersionsResponse.supported_features", "ApiVersionsResponse.finalized_features"),
        AnyOrder(("name",)),
    ),
    Rule(
        "configs are looked up by name; Kafka's order is that of a hash table",
        ("CreateTopicsResponse.topics[].configs", "DescribeConfigsResponse.results[].configs"),
        AnyOrder(("name",)),
    ),
    Rule(
        "quotas are looked up by entity and key; Kafka's order is that of hash tables",
        ("DescribeClientQuotasResponse.entries", "AlterClientQuotasResponse.entries"),
        AnyOrder(("entity",)),
    ),
    Rule(
        "quotas are looked up by entity and key; Kafka's order is that of hash tables",
        ("DescribeClientQuotasResponse.entries*.values",),
        AnyOrder(("key",)),
    ),
    Rule("cluster ids are drawn at random", ("*.cluster_id",), Id("cluster id", (None, ""))),
)
"""In the order in which they are applied to a field."""
