"""The clients: each case runs with every one of them, and one driver process serves all cases of a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compat.clients.client import Client
from compat.clients.client_kind import ClientKind, NotInstalledError, TooOldError
from compat.clients.driver import Driver
from compat.clients.features import FEATURES
from compat.clients.known_bugs import KNOWN_BUGS
from compat.clients.registry import CLIENTS
from compat.clients.witness import Witness
from compat.conftest import RunningBroker, UniqueName
from compat.contestants import EXTERNAL, START_DEADLINE_S, Contestant
from tests.broker_process import REPOSITORY, BrokerProcess

NewTopic = Callable[..., str]
_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(name): which of compat.clients.features a case is about")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client_kind" in metafunc.fixturenames:
        metafunc.parametrize("client_kind", list(CLIENTS.values()), ids=list(CLIENTS))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of each contestant the cases with a cluster come last, so that it does not run beside all others."""
    places = [place for place, item in enumerate(items) if _HERE in item.path.parents]
    targets: dict[str, int] = {}
    for place in places:
        targets.setdefault(_target(items[place]), len(targets))
    ours = sorted(
        (items[place] for place in places),
        key=lambda item: (targets[_target(item)], "cluster" in item.fixturenames),  # type: ignore[attr-defined]
    )
    for place, item in zip(places, ours, strict=True):
        items[place] = item


def _target(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return "" if callspec is None else str(callspec.params.get("target", ""))


@dataclass(frozen=True)
class _Running:
    driver: Driver
    hello: dict[str, Any]


class Drivers:
    """The drivers that run, by client; one that ended in a case is started again for the next."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}
        self._missing: dict[str, NotInstalledError] = {}

    def of(self, kind: ClientKind) -> _Running:
        """NotInstalledError where its toolchain is not there."""
        if kind.name in self._missing:
            raise self._missing[kind.name]
        found = self._running.get(kind.name)
        if found is None or not found.driver.running:
            try:
                command = kind.prepare()
            except NotInstalledError as error:
                self._missing[kind.name] = error
                raise
            if found is not None:
                found.driver.close()
            driver = Driver(command, cwd=REPOSITORY)
            self._running[kind.name] = _Running(driver, driver.call("hello"))
        return self._running[kind.name]

    def close(self) -> None:
        for running in self._running.values():
            running.driver.close()


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    running = Drivers()
    yield running
    running.close()


@pytest.fixture
def feature(request: pytest.FixtureRequest) -> str:
    """The row of the table that the case is about."""
    marker = request.node.get_closest_marker("feature")
    assert marker is not None, "a case with a client is marked with its feature"
    (name,) = marker.args
    assert name in FEATURES, name
    return str(name)


@pytest.fixture
def client(
    client_kind: ClientKind,
    feature: str,
    target: str,
    drivers: Drivers,
    missing: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> Iterator[Client]:
    """The client under test, where it has the feature; what the case has opened is closed."""
    record_property("client", client_kind.name)
    record_property("language", client_kind.language)
    record_property("feature", feature)
    try:
        running = drivers.of(client_kind)
    except TooOldError as error:
        pytest.skip(str(error))
    except NotInstalledError as error:
        missing(str(error))
        raise
    tested = Client(running.driver, running.hello)
    record_property("client_version", tested.version)
    if not tested.supports(feature):
        pytest.skip(f"not in this client: {tested.unsupported[feature]}")
    assert feature in running.hello["features"], f"the driver neither has {feature!r} nor says why not"
    if (client_kind.name, feature) in KNOWN_BUGS:
        pytest.skip(f"a bug of this client: {KNOWN_BUGS[client_kind.name, feature]}")
    yield tested
    tested.close_all()


@pytest.fixture
def witness(broker: RunningBroker) -> Witness:
    """Looks at the shared broker without the client."""
    return Witness(broker.bootstrap_servers)


@pytest.fixture
def new_topic(witness: Witness, unique_name: UniqueName) -> Iterator[NewTopic]:
    """Makes topics on the shared broker that are gone after the case: ``new_topic(partitions=3)`` is its name."""
    made: list[str] = []

    def make(**arguments: Any) -> str:
        name = unique_name("topic")
        witness.create_topic(name, **arguments)
        made.append(name)
        return name

    yield make
    for name in made:
        witness.delete_topic(name)


@pytest.fixture(scope="session")
def restartable_of(
    contestants: Callable[[str], Contestant], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], BrokerProcess]]:
    """A broker of each contestant that cases may stop and start; one at a time."""
    running: dict[str, BrokerProcess] = {}

    def close() -> None:
        while running:
            running.popitem()[1].close()

    def get(target: str) -> BrokerProcess:
        if target not in running:
            close()
            running[target] = contestants(target).broker(
                tmp_path_factory.mktemp(f"{target}-restarted") / "data"
            )
        if not running[target].running:
            running[target].start(deadline_s=START_DEADLINE_S)
        return running[target]

    yield get
    close()


@pytest.fixture
def restartable(target: str, restartable_of: Callable[[str], BrokerProcess]) -> BrokerProcess:
    """A running broker that the case may restart on its port and directory."""
    if target == EXTERNAL:
        pytest.skip("restarts the broker, so not with --bootstrap-server")
    return restartable_of(target)
