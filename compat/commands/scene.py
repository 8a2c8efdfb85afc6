"""Where a case happens: a broker, names of its own, files of its own.

Each tool has a scene. The scenes of twins differ in their names only, by two letters: ``Aa`` and ``BB``, which have the
same hash in Java. So names have the same length, the same place in a sorted list, and in a HashMap.
"""

from __future__ import annotations

import re
import shlex
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import trio
from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from kbroker.tools.session import Connected
from wire.messages.log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse

THEIRS: Final = "Aa"
OURS: Final = "BB"
NOWHERE: Final = "127.0.0.1:1"
"""Nothing listens there."""
_DEADLINE_S: Final = 30.0
_SETTLING: Final = "retention.ms"
_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9._-]*)\}")


class Broker:
    """The broker that cases are run against, and what they keep open there until the session's end."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers, "client.id": "arranger"})
        metadata = self.admin.list_topics(timeout=30)
        self.node_id = min(metadata.brokers)
        self._kept: list[Consumer | Producer] = []
        self._settled = 0
        self._settling_topic = ""

    def keep(self, client: Consumer | Producer) -> None:
        """A client that stays as it is until the session ends: a member, a transaction that nobody ends."""
        self._kept.append(client)

    def settle(self) -> None:
        """Wait until all changes so far show in metadata (the logs of a new topic may come a moment later).

        The controller acknowledges a change, the broker shows it a moment later; changes show in the order in which
        they were made. So one more is made, and waited for.
        """
        self._settled += 1
        value = str(10**9 + self._settled)
        if not self._settling_topic:
            self._settling_topic = f"settling-{uuid.uuid4().hex[:6]}"
            topic = NewTopic(self._settling_topic, 1, 1, config={_SETTLING: value})
            self.admin.create_topics([topic])[topic.topic].result(_DEADLINE_S)
        else:
            entry = ConfigEntry(_SETTLING, value, incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, self._settling_topic, incremental_configs=[entry])
            self.admin.incremental_alter_configs([resource])[resource].result(_DEADLINE_S)
        deadline = time.monotonic() + _DEADLINE_S
        while self._settling_value() != value:
            assert time.monotonic() < deadline, "changes do not show"
            time.sleep(0.005)

    def _settling_value(self) -> str | None:
        resource = ConfigResource(ResourceType.TOPIC, self._settling_topic)
        try:
            found = self.admin.describe_configs([resource])[resource].result(_DEADLINE_S)
        except KafkaException:  # it has not come to be
            return None
        value: str = found[_SETTLING].value
        return value

    def close(self) -> None:
        """Let go of all that was kept."""
        for client in self._kept:
            if isinstance(client, Consumer):
                client.close()
        self._kept.clear()


class Scene:
    """The names and files of one tool in one case.

    ``{bootstrap}``, ``{nowhere}``, ``{node}`` and ``{dir}`` stand for the broker's address, one where nobody is, the
    broker's node id and the directory of the case's files; every other word in braces is a name of the scene's own.
    """

    def __init__(self, token: str, twin: str, directory: Path, broker: Broker | None) -> None:
        self._prefix = f"{token}-{twin}-"
        self._common_prefix = f"{token}-{THEIRS}-"
        self.directory = directory / twin
        self._common_directory = directory / THEIRS
        self.directory.mkdir(parents=True, exist_ok=True)
        self._broker = broker
        self.facts: dict[str, str] = {}
        """What the state's maker found out, by the name that lines use for it: an id, a time."""

    @property
    def broker(self) -> Broker:
        assert self._broker is not None, "the case is offline"
        return self._broker

    def topic_id(self, word: str) -> str:
        """As Kafka writes it."""
        name = self.name(word)
        described = self.broker.admin.describe_topics(TopicCollection([name]))[name].result(30)
        return str(described.topic_id)

    def log_directory(self) -> Path:
        """Where the broker keeps its logs; skips the test if that is on another machine."""
        request = DescribeLogDirsRequest(topics=None)

        async def ask() -> DescribeLogDirsResponse:
            async with Connected(self.broker.bootstrap_servers, {}) as cluster:
                return await cluster.any(request, DescribeLogDirsResponse)

        found = Path(trio.run(ask).results[0].log_dir)
        if not found.exists():
            pytest.skip("the broker's directory is on another machine")
        return found

    def name(self, word: str) -> str:
        """``topic`` as this scene calls it."""
        return f"{self._prefix}{word}"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.directory / name).write_text(self.fill(text), encoding="utf-8")

    def words(self, line: str) -> list[str]:
        """A command line's words, as a shell would part them."""
        return [self.fill(word) for word in shlex.split(line)]

    def fill(self, text: str) -> str:
        """``text`` with the scene's own in place of words in braces."""
        return _PLACEHOLDER.sub(self._stands_for, text)

    def plain(self, text: str) -> str:
        """What was printed, as if it had happened in Apache Kafka's scene."""
        text = text.replace(str(self.directory), str(self._common_directory))
        return text.replace(self._prefix, self._common_prefix)

    def _stands_for(self, found: re.Match[str]) -> str:
        word = found[1]
        match word:
            case "bootstrap":
                return self.broker.bootstrap_servers
            case "nowhere":
                return NOWHERE
            case "node":
                return str(self.broker.node_id)
            case "dir":
                return str(self.directory)
        return self.facts.get(word, self._prefix if word == "all" else self.name(word))
