"""Apache Kafka's tools as functions of the cases: run in one Java process, pointed at the broker under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from compat.conftest import RunningBroker, UniqueName
from compat.contestants import KBROKER
from compat.java_tools.invocation import NewTopic, Tools
from compat.reference.tool_runner import ToolRunner


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "kbroker_lacks(reason): what GAPS.md says of a case that kbroker fails"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is known to be missing fails until it is there, and fails when it is there and still said to be missing."""
    for item in items:
        lacks = item.get_closest_marker("kbroker_lacks")
        callspec = getattr(item, "callspec", None)
        if lacks is not None and callspec is not None and callspec.params.get("target") == KBROKER:
            item.add_marker(pytest.mark.xfail(strict=True, reason=lacks.args[0]))


@pytest.fixture(scope="session")
def runner(java_class_path: str) -> Iterator[ToolRunner]:
    """The Java process of all tools, for the whole run."""
    with ToolRunner() as running:
        yield running


@pytest.fixture
def tools_for(
    runner: ToolRunner, record_property: Callable[[str, object], None]
) -> Iterator[Callable[[str], Tools]]:
    """Tools for the cluster at an address; their names are kept with the case's result."""
    used: set[str] = set()
    yield lambda bootstrap_servers: Tools(runner, bootstrap_servers, used)
    record_property("tools", sorted(used))


@pytest.fixture
def tools(broker: RunningBroker, tools_for: Callable[[str], Tools]) -> Tools:
    """Tools for the shared broker of the contestant."""
    return tools_for(broker.bootstrap_servers)


@pytest.fixture
def new_topic(tools: Tools, unique_name: UniqueName) -> NewTopic:
    """Makes topics with kafka-topics; ``new_topic(partitions=3, configs={"retention.ms": 1})`` is one's name."""

    def make(*, partitions: int = 1, configs: dict[str, Any] | None = None) -> str:
        name = unique_name("topic")
        settings = [word for key, value in (configs or {}).items() for word in ("--config", f"{key}={value}")]
        tools("kafka-topics", "--create", "--topic", name, "--partitions", str(partitions), *settings)
        return name

    return make
