"""``python -m tests.chaos.clients JSON``: one client, until SIGTERM."""

from __future__ import annotations

import sys

from tests.chaos.clients.client import Assignment, Client
from tests.chaos.clients.member import Member
from tests.chaos.clients.producer import IdempotentProducer
from tests.chaos.clients.reader import Reader
from tests.chaos.clients.transformer import Transformer

ROLES: dict[str, type[Client]] = {
    "producer": IdempotentProducer,
    "reader": Reader,
    "member": Member,
    "transformer": Transformer,
}


def main() -> int:
    assignment = Assignment.from_json(sys.argv[1])
    return ROLES[assignment.role](assignment).run()


if __name__ == "__main__":
    sys.exit(main())
