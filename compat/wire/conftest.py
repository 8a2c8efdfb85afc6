"""The two brokers of the wire comparison, shared by all its cases."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from compat.conftest import RunningBroker, shared_brokers
from compat.contestants import APACHE_KAFKA, EXTERNAL, KBROKER
from compat.wire.scene import Side


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Iterator[Callable[[str], RunningBroker]]:
    """Brokers of their own: some requests ask for everything there is, other suites' topics included."""
    with shared_brokers(request) as get:
        yield get


@pytest.fixture(scope="session")
def sides(
    request: pytest.FixtureRequest, running: Callable[[str], RunningBroker]
) -> Iterator[tuple[Side, Side]]:
    """Apache Kafka, and the broker that is judged."""
    judged = EXTERNAL if request.config.getoption("--bootstrap-server") else KBROKER
    both = tuple(Side(name, running(name).bootstrap_servers) for name in (APACHE_KAFKA, judged))
    yield both[0], both[1]
    for side in both:
        side.close()


@pytest.fixture(scope="session")
def run_token() -> str:
    """Part of all names, so that a run against a broker that has seen another finds nothing of it."""
    return uuid.uuid4().hex[:6]
