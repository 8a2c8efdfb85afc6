"""Transactions with Apache Kafka's own Java client; skipped where it cannot be had."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from tests import java_programs
from tests.broker_process import BrokerProcess

StartBroker = Callable[..., BrokerProcess]
UniqueName = Callable[[str], str]

DEADLINE_S = 100


@pytest.fixture(scope="module")
def class_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    try:
        return java_programs.class_path(tmp_path_factory.mktemp("java-classes"))
    except java_programs.NoJavaError as reason:
        pytest.skip(str(reason))


def start(class_path: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*java_programs.command(class_path, "ConsumeTransformProduce"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.slow
def test_java_client_transforms_exactly_once(
    class_path: str, bootstrap_server: str, unique_name: UniqueName
) -> None:
    with start(class_path, bootstrap_server, unique_name("plain")) as program:
        output, _ = program.communicate(timeout=DEADLINE_S)
    assert output.splitlines()[-2:] == ["fenced", "DONE"], output
    assert "exactly once" in output


@pytest.mark.slow
def test_java_client_transforms_exactly_once_through_a_kill(
    class_path: str, start_broker: StartBroker
) -> None:
    broker = start_broker(overrides={"group.initial.rebalance.delay.ms": 0}).start()
    with start(class_path, broker.bootstrap_server, "killed", "pause") as program:
        assert program.stdout is not None
        seen = []
        for line in program.stdout:
            seen.append(line)
            if line == "PAUSE\n":
                broker.signal(signal.SIGKILL)
                broker.wait()
                broker.start()
                break
        output, _ = program.communicate("go on\n", timeout=DEADLINE_S)
    assert "PAUSE\n" in seen, seen
    assert output.splitlines()[-2:] == ["fenced", "DONE"], output
    assert "exactly once" in output
