"""The options that ``tests`` and ``compat`` share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kbroker")
    group.addoption(
        "--bootstrap-server",
        metavar="HOST:PORT",
        help="judge this running broker; cases that start or stop brokers are skipped",
    )
    group.addoption(
        "--broker-command",
        metavar="COMMAND",
        help="start this command (kbroker serve's arguments are appended) in place of kbroker",
    )
    group.addoption(
        "--results",
        metavar="FILE",
        help="compat: write what every case came to, as JSON, for python -m compat.table",
    )
    group.addoption(
        "--nothing-missing",
        action="store_true",
        help="compat: fail where Java, Go or Node is missing, instead of skipping",
    )
