"""One broker for the tests of the commands for people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker_process import BrokerProcess
from tests.kbroker.prompt.prompt_runs import Prompt

OVERRIDES = {
    "num.partitions": 2,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.num.partitions": 1,
    "group.initial.rebalance.delay.ms": 0,
}


@pytest.fixture(scope="package")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prompt]:
    """The commands, and a broker for them that other tests use as well."""
    with BrokerProcess(tmp_path_factory.mktemp("prompt"), overrides=OVERRIDES) as broker:
        broker.start()
        yield Prompt(broker.bootstrap_server)
