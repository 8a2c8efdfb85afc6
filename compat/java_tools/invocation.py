"""Running Apache Kafka's tools against one cluster, and reading what they print."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Final

from compat.reference.tool_runner import DEADLINE_S, ToolRunner

NewTopic = Callable[..., str]
_BEHIND_THE_COMMAND: Final = {"kafka-cluster"}
"""Tools that take ``--bootstrap-server`` after their sub-command only."""
_NAMED_OTHERWISE: Final = {
    "kafka-replica-verification": "--broker-list",
    "kafka-transactional-message-copier": "--broker-list",
}


class ToolFailed(AssertionError):
    """A tool's exit code was not the expected one; everything that it printed is in the message."""


class Tools:
    """Runs tools against one cluster; ``used`` takes the names of those that ran."""

    def __init__(self, runner: ToolRunner, bootstrap_servers: str, used: set[str]) -> None:
        self._runner = runner
        self.bootstrap_servers = bootstrap_servers
        self.used = used

    def run(
        self, tool: str, *arguments: str, stdin: str = "", deadline_s: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Exit code and output, whatever they are; the cluster's address is added."""
        self.used.add(tool)
        address = [_NAMED_OTHERWISE.get(tool, "--bootstrap-server"), self.bootstrap_servers]
        line = [*arguments, *address] if tool in _BEHIND_THE_COMMAND else [*address, *arguments]
        return self._runner.run(tool, line, stdin=stdin, deadline_s=deadline_s)

    def __call__(self, tool: str, *arguments: str, stdin: str = "", deadline_s: float = DEADLINE_S) -> str:
        """What it prints on standard output; ToolFailed if it does not end with 0."""
        done = self.run(tool, *arguments, stdin=stdin, deadline_s=deadline_s)
        if done.returncode != 0:
            raise ToolFailed(_all_of(done))
        return done.stdout

    def refused(self, tool: str, *arguments: str) -> str:
        """What it says, on either stream, when it must fail; ToolFailed if it does not."""
        done = self.run(tool, *arguments)
        if done.returncode == 0:
            raise ToolFailed(_all_of(done))
        return done.stdout + done.stderr


def table(output: str) -> list[dict[str, str]]:
    """The rows of the table in a tool's output, by the words of its first line; no cell may hold spaces."""
    lines = [line.split() for line in output.splitlines() if line.strip()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def _all_of(done: subprocess.CompletedProcess[str]) -> str:
    line = " ".join(str(argument) for argument in done.args)
    return f"{line}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
