"""Brokers for the suite: ``pytest compat`` starts Apache Kafka and kbroker and runs every case against both.

``--bootstrap-server HOST:PORT`` judges a broker that runs already, alone where a case is about one broker, and beside
Apache Kafka where it compares. A case counts only if it passes on Apache Kafka: that run comes first.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compat.contestants import (
    APACHE_KAFKA,
    EXTERNAL,
    KBROKER,
    START_DEADLINE_S,
    Cluster,
    Contestant,
    contestant,
)
from compat.reference.maven import NoReferenceError, class_path
from compat.results import Results
from tests.broker_process import BrokerProcess
from tests.etcd_process import MISSING as NO_ETCD

StartBroker = Callable[..., BrokerProcess]
UniqueName = Callable[[str], str]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[Results.KEY] = Results(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every case that asks for ``target`` runs once for each contestant, all of one before the next."""
    if "target" in metafunc.fixturenames:
        external = metafunc.config.getoption("--bootstrap-server")
        names = [EXTERNAL] if external else [APACHE_KAFKA, KBROKER]
        metafunc.parametrize("target", names, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.config.stash[Results.KEY].note(item, report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[Results.KEY].write()


@pytest.fixture(scope="session")
def missing(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Called with a reason: what a case needs is not installed. Skips it, or fails with ``--nothing-missing``."""

    def say(reason: str) -> None:
        if request.config.getoption("--nothing-missing"):
            pytest.fail(f"missing, and nothing may be: {reason}", pytrace=False)
        pytest.skip(reason)

    return say


@pytest.fixture(scope="session")
def java_class_path(missing: Callable[[str], None]) -> str:
    """Apache Kafka's jars, its tools' and Streams'; see ``compat.reference.maven``."""
    try:
        return class_path()
    except NoReferenceError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def contestants(request: pytest.FixtureRequest) -> Callable[[str], Contestant]:
    """Contestants by name; Apache Kafka only where it can run."""

    def named(name: str) -> Contestant:
        if name == APACHE_KAFKA:
            request.getfixturevalue("java_class_path")
        command = request.config.getoption("--broker-command")
        return contestant(name, tuple(shlex.split(command)) if command else None)

    return named


class RunningBroker:
    """The address of a broker that cases share; its process, unless it is somebody else's."""

    def __init__(self, target: str, bootstrap_servers: str, process: BrokerProcess | None) -> None:
        self.target = target
        self.bootstrap_servers = bootstrap_servers
        self.process = process


@contextmanager
def shared_brokers(request: pytest.FixtureRequest) -> Iterator[Callable[[str], RunningBroker]]:
    """One broker of each contestant, started when it is first asked for."""
    contestants: Callable[[str], Contestant] = request.getfixturevalue("contestants")
    tmp_path_factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    brokers: dict[str, RunningBroker] = {}

    def get(target: str) -> RunningBroker:
        if target not in brokers:
            if target == EXTERNAL:
                given = str(request.config.getoption("--bootstrap-server"))
                brokers[target] = RunningBroker(target, given, None)
            else:
                process = contestants(target).broker(tmp_path_factory.mktemp(target) / "data")
                process.start(deadline_s=START_DEADLINE_S)
                brokers[target] = RunningBroker(target, process.bootstrap_server, process)
        return brokers[target]

    yield get
    for broker in brokers.values():
        if broker.process is not None:
            ended = not broker.process.running
            broker.process.close()
            assert not ended, f"{broker.target} ended by itself:\n{broker.process.stderr}"


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> Iterator[Callable[[str], RunningBroker]]:
    """The brokers that cases share which look at nothing but what they made."""
    with shared_brokers(request) as get:
        yield get


@pytest.fixture
def broker(target: str, running: Callable[[str], RunningBroker]) -> RunningBroker:
    """The contestant's shared broker."""
    return running(target)


@pytest.fixture
def both(
    request: pytest.FixtureRequest, running: Callable[[str], RunningBroker]
) -> tuple[RunningBroker, RunningBroker]:
    """Apache Kafka's broker and the one it is compared with."""
    judged = EXTERNAL if request.config.getoption("--bootstrap-server") else KBROKER
    return running(APACHE_KAFKA), running(judged)


@pytest.fixture
def start_broker(
    target: str, contestants: Callable[[str], Contestant], tmp_path: Path
) -> Iterator[StartBroker]:
    """Makes brokers of the contestant's kind that end with the case: ``start_broker(overrides={...})`` is running."""
    if target == EXTERNAL:
        pytest.skip("starts and stops brokers, so not with --bootstrap-server")
    brokers: list[BrokerProcess] = []

    def start(data_dir: Path | None = None, **arguments: object) -> BrokerProcess:
        directory = data_dir if data_dir is not None else tmp_path / f"broker-{len(brokers)}"
        broker = contestants(target).broker(directory, **arguments)  # type: ignore[arg-type]
        brokers.append(broker)
        return broker.start(deadline_s=START_DEADLINE_S)

    yield start
    for broker in brokers:
        broker.close()


@pytest.fixture(scope="session")
def cluster_of(
    contestants: Callable[[str], Contestant],
    tmp_path_factory: pytest.TempPathFactory,
    missing: Callable[[str], None],
) -> Iterator[Callable[[str], Cluster]]:
    """A cluster of three of each contestant; one at a time, since three Java processes are enough for a machine."""
    running: list[tuple[str, object, Cluster]] = []

    def close() -> None:
        while running:
            _, context, _ = running.pop()
            context.__exit__(None, None, None)  # type: ignore[attr-defined]

    def get(target: str) -> Cluster:
        if running and running[0][0] == target:
            return running[0][2]
        close()
        if target == KBROKER and NO_ETCD is not None:
            missing(NO_ETCD)
        context = contestants(target).cluster(tmp_path_factory.mktemp(f"{target}-cluster"))
        running.append((target, context, context.__enter__()))
        return running[0][2]

    yield get
    close()


@pytest.fixture
def cluster(target: str, cluster_of: Callable[[str], Cluster]) -> Cluster:
    """Three brokers, all of them up and in sync; a case may kill and restart them."""
    if target == EXTERNAL:
        pytest.skip("kills brokers, so not with --bootstrap-server")
    found = cluster_of(target)
    found.make_whole()
    return found


@pytest.fixture(scope="session")
def unique_name() -> UniqueName:
    """Names for topics and groups that no other run or case has."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:10]}"
