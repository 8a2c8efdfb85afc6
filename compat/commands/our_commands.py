"""kbroker's commands, run as ``compat.reference.tool_runner`` runs Apache Kafka's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.broker_process import REPOSITORY, die_with_parent

COMMANDS: Final = (
    "kafka-broker-api-versions",
    "kafka-configs",
    "kafka-console-consumer",
    "kafka-console-producer",
    "kafka-consumer-groups",
    "kafka-consumer-perf-test",
    "kafka-delete-records",
    "kafka-dump-log",
    "kafka-get-offsets",
    "kafka-leader-election",
    "kafka-log-dirs",
    "kafka-producer-perf-test",
    "kafka-reassign-partitions",
    "kafka-topics",
    "kafka-transactions",
)
"""All that kbroker installs."""


class OurCommands:
    """The process that all of them are forked from; ``close`` ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [*die_with_parent(), sys.executable, "-m", "compat.commands.fork_server"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(
        self, tool: str, arguments: Sequence[str], *, stdin: str = "", deadline_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Output and exit code; ``subprocess.TimeoutExpired`` with what it had printed if it does not end in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"tool": tool, "arguments": list(arguments), "stdin": stdin, "deadline_s": deadline_s}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer_line = self._process.stdout.readline()
        assert answer_line, f"the process of kbroker's commands ended during {tool} {' '.join(arguments)}"
        answer = json.loads(answer_line)
        line = [tool, *arguments]
        if answer["exit"] is None:
            raise subprocess.TimeoutExpired(line, deadline_s, answer["stdout"], answer["stderr"])
        return subprocess.CompletedProcess(line, answer["exit"], answer["stdout"], answer["stderr"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
