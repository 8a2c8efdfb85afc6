"""What a broker says of itself: kafka-broker-api-versions, kafka-cluster, kafka-features, kafka-metadata-quorum; and
Apache Kafka's own check of what clients may expect of a broker."""

from __future__ import annotations

import re

from compat.conftest import UniqueName
from compat.java_tools.invocation import Tools, table

# Whatever an admin client, producer or consumer without security and of the classic group protocol may send.
CLIENT_APIS = """
    Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup
    SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId
    OffsetForLeaderEpoch AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit DescribeConfigs AlterConfigs
    AlterReplicaLogDirs DescribeLogDirs CreatePartitions DeleteGroups ElectLeaders IncrementalAlterConfigs
    AlterPartitionReassignments ListPartitionReassignments OffsetDelete DescribeQuorum UpdateFeatures
    DescribeCluster DescribeProducers DescribeTransactions ListTransactions ListConfigResources
"""


def test_versions_that_it_serves(tools: Tools) -> None:
    printed = tools("kafka-broker-api-versions")

    assert re.match(r"127\.0\.0\.1:\d+ \(id: \d+ rack: null isFenced: false\) -> \(\n", printed)
    served = dict(re.findall(r"^\t(\w+)\(\d+\): (.*?)[,\n]", printed, re.MULTILINE))
    for api in CLIENT_APIS.split():
        assert re.fullmatch(r"\d+(?: to \d+)? \[usable: \d+\]", served[api]), f"{api}: {served[api]}"


def test_the_cluster_and_its_endpoints(tools: Tools) -> None:
    identity = tools("kafka-cluster", "cluster-id")
    endpoints = table(tools("kafka-cluster", "list-endpoints"))
    stranger = tools.refused("kafka-cluster", "unregister", "--id=4711")

    assert re.fullmatch(r"Cluster ID: [\w-]{22}\n", identity)
    (endpoint,) = endpoints
    assert f"{endpoint['HOST']}:{endpoint['PORT']}" == tools.bootstrap_servers
    assert (endpoint["STATE"], endpoint["ENDPOINT_TYPE"]) == ("unfenced", "broker")
    assert "BrokerIdNotRegisteredException" in stranger


def _levels(described: str) -> dict[str, str]:
    return dict(re.findall(r"Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)", described))


def test_features(tools: Tools) -> None:
    described = tools("kafka-features", "describe")
    upgrade = tools("kafka-features", "upgrade", "--feature=transaction.version=2", "--dry-run")
    downgrade = tools("kafka-features", "downgrade", "--feature=transaction.version=1", "--dry-run")
    unknown = tools.refused("kafka-features", "upgrade", "--feature=no.such.feature=1")

    levels = _levels(described)
    assert levels["transaction.version"] == "2"
    assert re.fullmatch(r"4\.\d-IV\d", levels["metadata.version"])
    assert upgrade == "transaction.version can be upgraded to 2.\n"
    assert downgrade == "transaction.version can be downgraded to 1.\n"
    assert "no.such.feature" in unknown
    assert _levels(tools("kafka-features", "describe")) == levels


def test_the_quorum(tools: Tools) -> None:
    status = dict(
        line.split(":", 1) for line in tools("kafka-metadata-quorum", "describe", "--status").splitlines()
    )
    (replica,) = table(tools("kafka-metadata-quorum", "describe", "--replication"))

    cluster_id = tools("kafka-cluster", "cluster-id").split()[-1]
    assert status["ClusterId"].strip() == cluster_id
    assert status["LeaderId"].strip() == replica["NodeId"]
    assert status["MaxFollowerLag"].strip() == "0"
    assert f'"id": {replica["NodeId"]}' in status["CurrentVoters"]
    assert (replica["Status"], replica["Lag"]) == ("Leader", "0")


def test_what_apache_kafka_expects_of_a_broker(tools: Tools, unique_name: UniqueName) -> None:
    """ClientCompatibilityTest reads, writes, looks up offsets by time, creates and deletes topics, and compares."""
    tools(
        "kafka-topics", "--delete", "--topic", "newtopic", "--if-exists"
    )  # it makes that one, and leaves it
    printed = tools(
        "kafka-client-compatibility-test",
        f"--topic={unique_name('topic')}",
        "--offsets-for-times-supported=True",
        "--cluster-id-supported=True",
        "--expect-record-too-large-exception=False",
        "--num-cluster-nodes=1",
        "--create-topics-supported=True",
        "--describe-acls-supported=True",
        "--describe-configs-supported=True",
        "--idempotent-producer-supported=True",
    )

    assert printed == "SUCCESS.\n"
