"""Both sides' tools, and a stage for them on each broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compat.commands.our_commands import OurCommands
from compat.commands.runs import Stage
from compat.commands.scene import Broker
from compat.conftest import RunningBroker
from compat.contestants import EXTERNAL
from compat.reference.tool_runner import ToolRunner


@pytest.fixture(scope="session")
def java_tools(java_class_path: str) -> Iterator[ToolRunner]:
    """Apache Kafka's, with the logging that its scripts configure."""
    with ToolRunner([Path(__file__).with_name("StaticLoggerBinder.java")]) as runner:
        yield runner


@pytest.fixture(scope="session")
def our_commands() -> Iterator[OurCommands]:
    """kbroker's."""
    commands = OurCommands()
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def offstage(
    java_tools: ToolRunner, our_commands: OurCommands, tmp_path_factory: pytest.TempPathFactory
) -> Stage:
    """Where there is no broker."""
    return Stage(java_tools, our_commands, None, tmp_path_factory.mktemp("offline"))


@pytest.fixture(scope="session")
def stages(
    java_tools: ToolRunner,
    our_commands: OurCommands,
    running: Callable[[str], RunningBroker],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Stage]]:
    """One for each contestant's broker, with the states that its cases share."""
    made: dict[str, Stage] = {}

    def get(target: str) -> Stage:
        if target not in made:
            broker = Broker(running(target).bootstrap_servers)
            token = f"{uuid.uuid4().hex[:6]}-" if target == EXTERNAL else ""
            made[target] = Stage(java_tools, our_commands, broker, tmp_path_factory.mktemp(target), token)
        return made[target]

    yield get
    for stage in made.values():
        if stage.broker is not None:
            stage.broker.close()


@pytest.fixture
def stage(target: str, stages: Callable[[str], Stage]) -> Stage:
    """The contestant's."""
    return stages(target)
