"""``kafka-broker-api-versions``: which versions of which APIs each broker serves (Kafka's BrokerApiVersionsCommand).

What is "usable" is so for the clients of Apache Kafka 4.4, as in its own command.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Final, NoReturn

from kbroker.tools.arguments import Arguments, read_properties
from kbroker.tools.cluster import Cluster, NotReachable, parse_address
from kbroker.tools.failures import NotStartedError
from kbroker.tools.log_lines import log
from kbroker.tools.session import CommandError, Connected, run
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

_LOGGER: Final = "kbroker.tools.broker_api_versions"


def main() -> NoReturn:
    options = parse()

    async def work() -> None:
        properties = read_properties(options.command_config)
        try:
            bootstrap = [str(parse_address(text)) for text in options.bootstrap_server.split(",")]
        except ValueError as error:
            raise NotStartedError(str(error)) from None
        async with Connected(options.bootstrap_server, properties) as cluster:
            try:
                await cluster.connect()
            except NotReachable as error:
                log("WARN", error.message or "", _LOGGER)
                nodes = ", ".join(
                    f"{address} (id: {-number} rack: null isFenced: false)"
                    for number, address in enumerate(bootstrap, 1)
                )
                raise CommandError(f"Request METADATA failed on brokers [{nodes}]") from None
            await execute(options, cluster)

    run(work, to_stderr=True)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    flags = Arguments("kafka-broker-api-versions", "This tool helps to retrieve broker version information.")
    flags.add_connection()
    return flags.parse(arguments)


async def execute(options: Namespace, cluster: Cluster) -> None:
    """Print the versions of every broker that the cluster knows, or why they are not known."""
    for node_id, broker in sorted(cluster.brokers.items()):
        rack = "null" if broker.rack is None else broker.rack
        node = f"{broker.host}:{broker.port} (id: {node_id} rack: {rack} isFenced: false)"
        request = ApiVersionsRequest(client_software_name="kbroker", client_software_version="1")
        try:
            response = await cluster.broker(node_id, request, ApiVersionsResponse)
            if response.error_code:
                raise ApiError(ErrorCode(response.error_code))
        except (ApiError, ProtocolError) as error:
            print(f"{node} -> ERROR: {error}")
            continue
        print(f"{node} -> (\n\t{_versions(response)}\n)")


def _versions(response: ApiVersionsResponse) -> str:
    lines = {one.api_key: _line(one) for one in response.api_keys}
    for key, (name, _, _, for_clients) in _KNOWN.items():
        if for_clients and key not in lines:
            lines[key] = f"{name}({key}): UNSUPPORTED"
    return ",\n\t".join(lines[key] for key in sorted(lines))


def _line(served: ApiVersionsResponse.ApiVersion) -> str:
    low, high = served.min_version, served.max_version
    versions = str(low) if low == high else f"{low} to {high}"
    known = _KNOWN.get(served.api_key)
    if known is None:
        return f"UNKNOWN({served.api_key}): {versions}"
    name, oldest, latest, _ = known
    if latest < low:
        usable = "unusable: node too new"
    elif high < oldest:
        usable = "unusable: node too old"
    else:
        usable = f"usable: {min(latest, high)}"
    return f"{name}({served.api_key}): {versions} [{usable}]"


_KNOWN: Final = {
    0: ("Produce", 3, 13, True),
    1: ("Fetch", 4, 18, True),
    2: ("ListOffsets", 1, 11, True),
    3: ("Metadata", 0, 13, True),
    8: ("OffsetCommit", 2, 10, True),
    9: ("OffsetFetch", 1, 10, True),
    10: ("FindCoordinator", 0, 6, True),
    11: ("JoinGroup", 0, 9, True),
    12: ("Heartbeat", 0, 4, True),
    13: ("LeaveGroup", 0, 5, True),
    14: ("SyncGroup", 0, 5, True),
    15: ("DescribeGroups", 0, 6, True),
    16: ("ListGroups", 0, 5, True),
    17: ("SaslHandshake", 0, 1, True),
    18: ("ApiVersions", 0, 5, True),
    19: ("CreateTopics", 2, 7, True),
    20: ("DeleteTopics", 1, 6, True),
    21: ("DeleteRecords", 0, 2, True),
    22: ("InitProducerId", 0, 6, True),
    23: ("OffsetForLeaderEpoch", 2, 4, True),
    24: ("AddPartitionsToTxn", 0, 5, True),
    25: ("AddOffsetsToTxn", 0, 4, True),
    26: ("EndTxn", 0, 5, True),
    27: ("WriteTxnMarkers", 1, 2, True),
    28: ("TxnOffsetCommit", 0, 6, True),
    29: ("DescribeAcls", 1, 3, True),
    30: ("CreateAcls", 1, 3, True),
    31: ("DeleteAcls", 1, 3, True),
    32: ("DescribeConfigs", 1, 4, True),
    33: ("AlterConfigs", 0, 2, True),
    34: ("AlterReplicaLogDirs", 1, 2, True),
    35: ("DescribeLogDirs", 1, 5, True),
    36: ("SaslAuthenticate", 0, 2, True),
    37: ("CreatePartitions", 0, 3, True),
    38: ("CreateDelegationToken", 1, 3, True),
    39: ("RenewDelegationToken", 1, 2, True),
    40: ("ExpireDelegationToken", 1, 2, True),
    41: ("DescribeDelegationToken", 1, 3, True),
    42: ("DeleteGroups", 0, 3, True),
    43: ("ElectLeaders", 0, 2, True),
    44: ("IncrementalAlterConfigs", 0, 1, True),
    45: ("AlterPartitionReassignments", 0, 1, True),
    46: ("ListPartitionReassignments", 0, 0, True),
    47: ("OffsetDelete", 0, 0, True),
    48: ("DescribeClientQuotas", 0, 1, True),
    49: ("AlterClientQuotas", 0, 1, True),
    50: ("DescribeUserScramCredentials", 0, 0, True),
    51: ("AlterUserScramCredentials", 0, 0, True),
    52: ("Vote", 0, 2, False),
    53: ("BeginQuorumEpoch", 0, 1, False),
    54: ("EndQuorumEpoch", 0, 1, False),
    55: ("DescribeQuorum", 0, 2, True),
    56: ("AlterPartition", 2, 3, False),
    57: ("UpdateFeatures", 0, 2, True),
    58: ("Envelope", 0, 0, False),
    59: ("FetchSnapshot", 0, 1, False),
    60: ("DescribeCluster", 0, 2, True),
    61: ("DescribeProducers", 0, 0, True),
    62: ("BrokerRegistration", 0, 4, False),
    63: ("BrokerHeartbeat", 0, 2, False),
    64: ("UnregisterBroker", 0, 0, True),
    65: ("DescribeTransactions", 0, 0, True),
    66: ("ListTransactions", 0, 2, True),
    67: ("AllocateProducerIds", 0, 0, False),
    68: ("ConsumerGroupHeartbeat", 0, 1, True),
    69: ("ConsumerGroupDescribe", 0, 1, True),
    70: ("ControllerRegistration", 0, 0, False),
    71: ("GetTelemetrySubscriptions", 0, 0, True),
    72: ("PushTelemetry", 0, 0, True),
    73: ("AssignReplicasToDirs", 0, 0, False),
    74: ("ListConfigResources", 0, 1, True),
    75: ("DescribeTopicPartitions", 0, 0, True),
    76: ("ShareGroupHeartbeat", 1, 1, True),
    77: ("ShareGroupDescribe", 1, 1, True),
    78: ("ShareFetch", 1, 2, True),
    79: ("ShareAcknowledge", 1, 2, True),
    80: ("AddRaftVoter", 0, 1, True),
    81: ("RemoveRaftVoter", 0, 0, True),
    82: ("UpdateRaftVoter", 0, 0, False),
    83: ("InitializeShareGroupState", 0, 0, True),
    84: ("ReadShareGroupState", 0, 0, True),
    85: ("WriteShareGroupState", 0, 1, True),
    86: ("DeleteShareGroupState", 0, 0, True),
    87: ("ReadShareGroupStateSummary", 0, 1, True),
    88: ("StreamsGroupHeartbeat", 0, 1, True),
    89: ("StreamsGroupDescribe", 0, 1, True),
    90: ("DescribeShareGroupOffsets", 0, 1, True),
    91: ("AlterShareGroupOffsets", 0, 0, True),
    92: ("DeleteShareGroupOffsets", 0, 0, True),
    93: ("StreamsGroupTopologyDescriptionUpdate", 0, 0, True),
    94: ("UnregisterController", 0, 0, True),
}
"""Apache Kafka 4.4's APIs: name, oldest and newest version of its clients, and whether clients may expect it."""
