"""All cases, one module for each family of APIs."""

from __future__ import annotations

from importlib import import_module

from compat.wire.case import Case, Cases

FAMILIES = (
    "connections",
    "api_versions",
    "metadata",
    "topics",
    "produce",
    "produce_batches",
    "produce_sequences",
    "fetch",
    "offsets",
    "group_membership",
    "group_offsets",
    "groups",
    "producer_ids",
    "transactions",
    "transactions_seen",
    "configs",
    "log_dirs",
    "reassignments",
    "quorum",
    "features",
    "acls",
    "client_quotas",
    "broker_lifecycle",
)


def _cases_of(family: str) -> list[Case]:
    module = import_module(f"compat.wire.cases.{family}")
    return [case for found in vars(module).values() if isinstance(found, Cases) for case in found]


ALL_CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in _cases_of(family))
