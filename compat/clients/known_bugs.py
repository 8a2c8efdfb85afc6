"""Bugs of clients: cases that fail on Apache Kafka too, for a reason that lies in the library.

Such a case is not run, on no broker, and counts for none of them; the table shows the reason.
"""

from __future__ import annotations

from typing import Final

KNOWN_BUGS: Final[dict[tuple[str, str], str]] = {
    ("@platformatic/kafka", "eager"): (
        "a fetch that is under way over a rebalance hands out records of partitions that the member no longer has: "
        "in half of the runs on Apache Kafka a record comes twice"
    ),
    ("@platformatic/kafka", "failover"): (
        "an idempotent producer goes on asking a leader that is gone, for ever; it looks for another one only where a "
        "broker says that it does not lead"
    ),
}
"""(client, feature) -> what is wrong, as found with the version in the table."""
