"""Apache Kafka's own command-line tools, by the names of their scripts."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from compat.reference.maven import class_path

_TOOLS = "org.apache.kafka.tools"
CLASSES = {
    "kafka-broker-api-versions": f"{_TOOLS}.BrokerApiVersionsCommand",
    "kafka-client-compatibility-test": f"{_TOOLS}.ClientCompatibilityTest",
    "kafka-client-metrics": f"{_TOOLS}.ClientMetricsCommand",
    "kafka-cluster": f"{_TOOLS}.ClusterTool",
    "kafka-configs": "org.apache.kafka.tools.ConfigCommand",
    "kafka-console-consumer": f"{_TOOLS}.consumer.ConsoleConsumer",
    "kafka-console-producer": f"{_TOOLS}.ConsoleProducer",
    "kafka-consumer-groups": f"{_TOOLS}.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": f"{_TOOLS}.ConsumerPerformance",
    "kafka-delete-records": f"{_TOOLS}.DeleteRecordsCommand",
    "kafka-dump-log": f"{_TOOLS}.DumpLogSegments",
    "kafka-e2e-latency": f"{_TOOLS}.EndToEndLatency",
    "kafka-features": f"{_TOOLS}.FeatureCommand",
    "kafka-get-offsets": f"{_TOOLS}.GetOffsetShell",
    "kafka-groups": f"{_TOOLS}.GroupsCommand",
    "kafka-leader-election": f"{_TOOLS}.LeaderElectionCommand",
    "kafka-log-dirs": f"{_TOOLS}.LogDirsCommand",
    "kafka-metadata-quorum": f"{_TOOLS}.MetadataQuorumCommand",
    "kafka-producer-perf-test": f"{_TOOLS}.ProducerPerformance",
    "kafka-reassign-partitions": f"{_TOOLS}.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": f"{_TOOLS}.ReplicaVerificationTool",
    "kafka-streams-application-reset": f"{_TOOLS}.StreamsResetter",
    "kafka-topics": f"{_TOOLS}.TopicCommand",
    "kafka-transactional-message-copier": f"{_TOOLS}.TransactionalMessageCopier",
    "kafka-transactions": f"{_TOOLS}.TransactionsCommand",
    "kafka-verifiable-consumer": f"{_TOOLS}.VerifiableConsumer",
    "kafka-verifiable-producer": f"{_TOOLS}.VerifiableProducer",
}
# A short life: the second compiler would never earn its keep.
JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


def command_line(tool: str, *arguments: str) -> list[str]:
    """How to start ``tool``, named as its script without ``.sh``. NoReferenceError where there is no Java or Maven."""
    return [*JAVA, "-cp", class_path(), CLASSES[tool], *arguments]


def run_tool(
    tool: str, arguments: Sequence[str], *, stdin: str = "", deadline_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run ``tool`` to its end; what it printed and its exit code."""
    return subprocess.run(
        command_line(tool, *arguments), input=stdin, capture_output=True, text=True, timeout=deadline_s
    )
