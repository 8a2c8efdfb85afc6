"""A member of a group that comes, reads, commits and goes again, sometimes under a static name."""

from __future__ import annotations

import time

from tests.chaos.clients.client import Client
from tests.chaos.clients.group_consumer import GroupConsumer

GROUP = "members"
_LIFE_S = (4.0, 30.0)
_ABSENT_S = (0.0, 3.0)
_COMMIT_RECORDS = 100
_ROUND_S = 0.3


class Member(Client):
    def run(self) -> int:
        lives = 0
        while not self.stopping:
            lives += 1
            self._live(f"{self.process}.{lives}")
            until = time.monotonic() + self.chance.uniform(*_ABSENT_S)
            while not self.stopping and time.monotonic() < until:
                time.sleep(0.1)
        return 0

    def _live(self, process: str) -> None:
        more = {"group.instance.id": self.assignment.name} if self.chance.random() < 0.3 else {}
        consumer = GroupConsumer(
            self, process, GROUP, list(self.assignment.topics), "read_uncommitted", **more
        )
        until = time.monotonic() + self.chance.uniform(*_LIFE_S)
        uncommitted = 0
        while time.monotonic() < until and not self.stopping:
            uncommitted += len(consumer.collect(_COMMIT_RECORDS, _ROUND_S))
            if uncommitted >= _COMMIT_RECORDS or (uncommitted and self.chance.random() < 0.2):
                consumer.commit()
                uncommitted = 0
        if self.chance.random() < 0.5:
            consumer.commit()
        consumer.close()
