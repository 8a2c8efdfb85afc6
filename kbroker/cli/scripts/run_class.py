"""``kafka-run-class.sh CLASS ...``: those classes of Kafka's that scripts name and that a command of ours is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from kbroker.cli.scripts.argparse4j import fail

MODULES = {
    "BrokerApiVersionsCommand": "kbroker.tools.broker_api_versions",
    "ClusterTool": "kbroker.cli.scripts.cluster",
    "ConfigCommand": "kbroker.tools.configs",
    "ConsoleConsumer": "kbroker.tools.console_consumer",
    "ConsoleProducer": "kbroker.tools.console_producer",
    "ConsumerGroupCommand": "kbroker.tools.consumer_groups",
    "ConsumerPerformance": "kbroker.tools.consumer_performance",
    "DeleteRecordsCommand": "kbroker.tools.delete_records",
    "DumpLogSegments": "kbroker.tools.dump_log",
    "GetOffsetShell": "kbroker.tools.get_offsets",
    "Kafka": "kbroker.cli.scripts.server_start",
    "LeaderElectionCommand": "kbroker.tools.leader_election",
    "LogDirsCommand": "kbroker.tools.log_dirs",
    "MetadataQuorumCommand": "kbroker.cli.scripts.metadata_quorum",
    "ProducerPerformance": "kbroker.tools.producer_performance",
    "ReassignPartitionsCommand": "kbroker.tools.reassign_partitions",
    "StorageTool": "kbroker.cli.scripts.storage",
    "TopicCommand": "kbroker.tools.topics",
    "TransactionsCommand": "kbroker.tools.transactions",
}
"""By the class's own name: the packages have changed over the versions, ``kafka.tools``, ``org.apache.kafka.tools``."""

_USAGE = "USAGE: kafka-run-class.sh [-loggc] [-name NAME] CLASS [arguments]"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    words = list(sys.argv[1:] if arguments is None else arguments)
    while words and words[0] in ("-loggc", "-name", "-daemon"):
        del words[: 2 if words[0] == "-name" else 1]
    if not words:
        fail(_USAGE)
    name = words[0]
    module = MODULES.get(name.rpartition(".")[2])
    if module is None or not name.startswith(("kafka.", "org.apache.kafka.")):
        fail(f"Error: kbroker has no {name}; of Kafka's classes it knows {', '.join(sorted(MODULES))}")
    sys.argv = [name, *words[1:]]
    importlib.import_module(module).main()
    sys.exit(0)
