"""A broker for requests sent as they are; ``--bootstrap-server`` sends them to another one, such as Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kbroker.client import BrokerClient
from kbroker.os_world import OsWorld
from tests.running_broker import running_broker


@pytest.fixture
def connect(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    """``async with connect() as client``: a client of a broker that lives as long as the block."""
    external = request.config.getoption("--bootstrap-server")

    @asynccontextmanager
    async def connected(**overrides: str) -> AsyncIterator[BrokerClient]:
        if external is not None:
            host, _, port = str(external).rpartition(":")
            async with await BrokerClient.connect(OsWorld().network, host, int(port)) as client:
                yield client
            return
        async with running_broker(tmp_path / "data", **overrides) as broker, await broker.client() as client:
            yield client

    return connected
