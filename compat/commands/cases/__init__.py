"""All cases, tool by tool."""

from __future__ import annotations

from typing import Final

from compat.commands.case import Case
from compat.commands.cases import (
    broker_api_versions,
    configs,
    console_consumer,
    console_producer,
    consumer_groups,
    delete_records,
    dump_log,
    get_offsets,
    leader_election,
    log_dirs,
    offset_resets,
    performance,
    reassign_partitions,
    topics,
    transactions,
)

_TOOLS: Final = (
    broker_api_versions.CASES,
    configs.CASES,
    console_consumer.CASES,
    console_producer.CASES,
    consumer_groups.CASES,
    offset_resets.CASES,
    delete_records.CASES,
    dump_log.CASES,
    get_offsets.CASES,
    leader_election.CASES,
    log_dirs.CASES,
    performance.CONSUMER,
    performance.PRODUCER,
    reassign_partitions.CASES,
    topics.CASES,
    transactions.CASES,
)
ALL_CASES: Final[tuple[Case, ...]] = tuple(case for tool in _TOOLS for case in tool)
