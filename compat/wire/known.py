"""What differs and is known to: bugs until they are mended, and what is different on purpose (docs/GAPS.md).

Every entry is an expected failure. One that does not fail any more fails the run, so that it is taken out; and so does
a difference that is not named here in a case that has an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat.wire.case import Case
from compat.wire.comparison import Difference, is_about
from wire.schema import parse_versions


@dataclass(frozen=True)
class Known:
    """One difference in one case (``Case.identifier``), at the versions where it shows."""

    case: str
    reason: str
    paths: tuple[str, ...] = ("*",)
    """Where, as rules name it (``allowed.py``)."""
    versions: str = "0+"

    def concerns(self, case: Case, version: int) -> bool:
        first, last = parse_versions(self.versions)
        return self.case == case.identifier and first <= version <= last

    def covers(self, difference: Difference) -> bool:
        return any(is_about(pattern, difference.path) for pattern in self.paths)


_MUTE = "Apache Kafka never answers this request; kbroker says what is wrong with it"
_NONSENSE = "GAPS: where Apache Kafka answers UNKNOWN_SERVER_ERROR to nonsense, kbroker names the mistake"
_GARBAGE = "GAPS: records inside a batch are not looked at"
_LATEST_TIME = "GAPS: a producer's wrong max_timestamp is kept, where Kafka corrects it"
_ELR = "GAPS: there is no cluster-wide min.insync.replicas from ELR"
_ELR_ALTERED = (
    "GAPS: with ELR there is a cluster-wide min.insync.replicas, which AlterConfigs must not take away"
)
_METADATA_VERSION = "GAPS: metadata.version ends at 29; Apache Kafka 4.4's is 33"
_UNSTABLE = "GAPS: InitProducerId is served up to version 6, which Apache Kafka holds to be unstable"
_THREADS = (
    "GAPS: there are no I/O threads to resize, so no step is too large; Apache Kafka's is a half to twice"
)
_NEGATIVE_SIZE = "Apache Kafka answers UNKNOWN_SERVER_ERROR to a size below zero; kbroker takes it for zero"
_AT_ONCE = (
    "with acks=all kbroker waits for the disk, for which a timeout of 0 leaves no time (docs/DURABILITY.md)"
)

_UNSTABLE_PATHS = ("ApiVersionsResponse.api_keys[22].max_version",)
_FEATURE_PATHS = ("*_features[metadata.version].*",)
_NAMED = ("a named client", "a client called 'aaaaaaaaaa'", "a cluster and the node in it")

KNOWN: tuple[Known, ...] = (
    *(Known(f"ApiVersions: {name}", _METADATA_VERSION, _FEATURE_PATHS, versions="3+") for name in _NAMED),
    *(
        Known(name, _UNSTABLE, _UNSTABLE_PATHS)
        for name in ("Connection: two requests at once", *(f"ApiVersions: {name}" for name in _NAMED))
    ),
    Known("ApiVersions: a client without a name", _UNSTABLE, _UNSTABLE_PATHS, versions="0-2"),
    Known(
        "Connection: ApiVersions 6 that is nothing but a header",
        "Apache Kafka misses tagged fields in the header and closes; kbroker reads only what it needs to answer",
    ),
    Known(
        "Metadata: an unknown topic, to be created",
        "a topic created on demand is told at once (handlers/metadata.py); Kafka says first that it is unknown",
        ("MetadataResponse.topics[].*",),
    ),
    Known("Metadata: neither name nor id", _NONSENSE, ("MetadataResponse.*error_code",), versions="12+"),
    Known("DescribeTopicPartitions: an empty name", _NONSENSE),
    Known("CreateTopics: names that collide", "GAPS: two colliding topic names in one CreateTopics request"),
    *(Known(f"Produce: within {time_ms} ms", _AT_ONCE) for time_ms in (0, -1)),
    Known("Produce: null in place of records", _MUTE),
    *(
        Known(
            f"Produce: {name}",
            "UNKNOWN_SERVER_ERROR of Apache Kafka: an idempotent producer never sees it here (DESIGN)",
            ("ProduceResponse.*.error_code", "ProduceResponse.*.log_start_offset"),
        )
        for name in ("codec 5", "codec 6", "codec 7", "a batch length of 2147483647")
    ),
    *(
        Known(f"Produce: {name}", _GARBAGE)
        for name in (
            "a count and a last offset delta that agree and are wrong",
            "records that are none",
            "compressed records that are none",
        )
    ),
    Known("Produce: a wrong latest time", _LATEST_TIME, ("FetchResponse.*.max_timestamp",)),
    Known("Fetch: at most -1 bytes", _NEGATIVE_SIZE),
    Known("Fetch: at most -1 bytes of a partition", _NEGATIVE_SIZE),
    Known("Fetch: an unknown isolation level", _NONSENSE),
    Known(
        "Fetch: a replica that is none",
        "Apache Kafka refuses a stranger's fetch and names itself as the leader to go to; kbroker names others only",
        ("*.current_leader.*",),
        versions="16+",
    ),
    Known("ListOffsets: an unknown isolation level", _NONSENSE, versions="2+"),
    Known("JoinGroup: a protocol twice", _MUTE),
    Known("AddPartitionsToTxn: no transactions", _MUTE),
    Known("DescribeConfigs: the brokers' defaults", _ELR, ("*.configs[min.insync.replicas]",)),
    Known("AlterConfigs: a resource twice", _MUTE),
    *(
        Known(case, "Apache Kafka closes the connection at a type that is none; kbroker has no use for types")
        for case in (
            "DescribeAcls: an unknown type",
            "CreateAcls: an unknown resource type",
            "CreateAcls: an unknown permission",
            "DeleteAcls: an unknown operation",
        )
    ),
    *(
        Known(f"{api}: {who} set and delete", _ELR, ("*.configs[min.insync.replicas]",))
        for api in ("IncrementalAlterConfigs",)
        for who in ("a broker's:", "all brokers':")
    ),
    *(
        Known(f"{api}: a broker's, in sync replicas", _ELR)
        for api in ("AlterConfigs", "IncrementalAlterConfigs")
    ),
    *(
        Known(f"{api}: {who}, too many threads", _THREADS)
        for api in ("AlterConfigs", "IncrementalAlterConfigs")
        for who in ("a broker's", "all brokers'")
    ),
    *(
        Known(f"AlterConfigs: all brokers', {name}", _ELR_ALTERED)
        for name in (
            "one for all brokers only",
            "a dynamic one",
            "an unknown one",
            "an empty key",
            "threads",
            "a retention",
            "unclean elections",
            "connections",
        )
    ),
    *(Known(f"IncrementalAlterConfigs: operation {number}", _NONSENSE) for number in (4, -1, 127)),
    Known("AlterPartitionReassignments: no time to do it", "ours says why", ("*error_message",)),
    Known("DescribeQuorum: the quorum", "GAPS: there is no Raft quorum", ("*.listeners[].*",), versions="2"),
)


def known_of(case: Case, version: int) -> list[Known]:
    return [entry for entry in KNOWN if entry.concerns(case, version)]


def unexpected(differences: Sequence[Difference], entries: Sequence[Known]) -> list[Difference]:
    """The differences that no entry covers."""
    return [each for each in differences if not any(entry.covers(each) for entry in entries)]
