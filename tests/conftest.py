"""Options and fixtures for the tests that need a running broker.

Nothing is started for tests that do not ask for a broker. ``--bootstrap-server HOST:PORT`` sends the shared cases to
a broker that already runs; ``--broker-command`` has another implementation started instead of kbroker.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import etcd_process
from tests.broker_process import BrokerProcess

# A busy machine makes single examples slow; what a whole test may take is pytest's business.
settings.register_profile("kbroker", deadline=None, derandomize=True)
settings.load_profile("kbroker")

StartBroker = Callable[..., BrokerProcess]
UniqueName = Callable[[str], str]

SHARED_BROKER_OVERRIDES = {
    # Kafka's default of three seconds has a case of its own.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # Kafka's ten seconds would be most of what the case about it takes.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
}


@pytest.fixture(scope="session")
def broker_command(request: pytest.FixtureRequest) -> tuple[str, ...] | None:
    """Command of the broker under test; None stands for kbroker itself."""
    given = request.config.getoption("--broker-command")
    return tuple(shlex.split(given)) if given else None


@pytest.fixture(scope="session")
def external_bootstrap_server(request: pytest.FixtureRequest) -> str | None:
    given = request.config.getoption("--bootstrap-server")
    assert given is None or isinstance(given, str)
    return given


@pytest.fixture(scope="session")
def shared_broker(
    external_bootstrap_server: str | None,
    broker_command: tuple[str, ...] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[BrokerProcess | None]:
    """The broker that all cases share which neither stop it nor configure it; None with an external one."""
    if external_bootstrap_server is not None:
        yield None
        return
    directory = tmp_path_factory.mktemp("shared-broker")
    with BrokerProcess(
        directory / "data", overrides=SHARED_BROKER_OVERRIDES, command=broker_command
    ) as broker:
        broker.start()
        yield broker
        assert broker.running, f"the shared broker ended by itself:\n{broker.stderr}"
        exit_code = broker.terminate()
        if broker_command is None:
            assert exit_code == 0, broker.stderr
            assert "Traceback" not in broker.stderr, broker.stderr


@pytest.fixture(scope="session")
def bootstrap_server(shared_broker: BrokerProcess | None, external_bootstrap_server: str | None) -> str:
    if shared_broker is not None:
        return shared_broker.bootstrap_server
    assert external_bootstrap_server is not None
    return external_bootstrap_server


@pytest.fixture
def start_broker(
    external_bootstrap_server: str | None,
    broker_command: tuple[str, ...] | None,
    tmp_path: Path,
) -> Iterator[StartBroker]:
    """Makes brokers of a case's own, which end with the case: ``start_broker(overrides={...}).start()``.

    Without a directory each one gets a fresh one.
    """
    if external_bootstrap_server is not None:
        pytest.skip("starts brokers of its own, so not with --bootstrap-server")
    brokers: list[BrokerProcess] = []

    def make(data_dir: Path | None = None, **arguments: object) -> BrokerProcess:
        directory = data_dir if data_dir is not None else tmp_path / f"broker-{len(brokers)}"
        broker = BrokerProcess(directory, command=broker_command, **arguments)  # type: ignore[arg-type]
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
def kbroker_itself(external_bootstrap_server: str | None, broker_command: tuple[str, ...] | None) -> None:
    """Skips a case about what only kbroker does when another broker is under test."""
    if external_bootstrap_server is not None or broker_command is not None:
        pytest.skip("a case about kbroker's own behaviour")


@pytest.fixture(scope="session")
def unique_name() -> UniqueName:
    """Names for topics and groups that no other run or case has."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[etcd_process.EtcdCluster]:
    """An etcd of one member that many cases share, each under a key prefix of its own."""
    if etcd_process.MISSING is not None:
        pytest.skip(etcd_process.MISSING)
    with etcd_process.running_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster
