"""Keys with which a client can ask every coordinator of a broker whether it has loaded its partition.

A broker that has just started answers ListGroups and ListTransactions with what is loaded, and Apache Kafka says that
something is missing only while it loads, not before it begins. Asked for a key, it says so at both times.
"""

from __future__ import annotations

from itertools import count

from kbroker.coordination.partitioning import partition_for


def key_of_each_partition(partition_count: int = 50) -> list[str]:
    """One group id or transactional id for each partition of a coordinator's topic (50 by default), in order."""
    numbers = count()
    found: dict[int, str] = {}
    while len(found) < partition_count:
        key = str(next(numbers))
        found.setdefault(partition_for(key, partition_count), key)
    return [found[partition] for partition in range(partition_count)]
