"""The two ways in which commands wait: alone, and as a task among trio's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator

import pytest
import trio

from kbroker.tools import alone
from kbroker.tools.alone import Alone
from kbroker.tools.among_tasks import AmongTasks
from kbroker.tools.cluster import Cluster, NotReachable
from kbroker.tools.waiting import Waiting, here
from kbroker.world import ConnectionLost
from tests.broker_process import REPOSITORY
from wire.messages.metadata import MetadataRequest, MetadataResponse

WITHOUT_TRIO = (
    "kbroker.cli.health",
    "kbroker.cli.scripts.cluster",
    "kbroker.cli.scripts.metadata_quorum",
    *(
        f"kbroker.tools.{command}"
        for command in (
            "broker_api_versions",
            "configs",
            "consumer_groups",
            "delete_records",
            "dump_log",
            "get_offsets",
            "leader_election",
            "log_dirs",
            "reassign_partitions",
            "topics",
            "transactions",
        )
    ),
)

Run = Callable[[Callable[[], Awaitable[None]]], object]


@pytest.fixture(params=[(alone.run, Alone), (trio.run, AmongTasks)], ids=["alone", "among tasks"])
def way(request: pytest.FixtureRequest) -> tuple[Run, type[Waiting]]:
    """How to run a coroutine, and what it waits with."""
    made: tuple[Run, type[Waiting]] = request.param
    return made


@contextlib.contextmanager
def listening(backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield listener


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of somebody who takes connections and never says anything."""
    with listening() as listener:
        yield listener.getsockname()[1]


def test_the_outermost_limit_that_is_over_ends_a_wait(way: tuple[Run, type[Waiting]], mute: int) -> None:
    run, waiting_class = way
    caught: list[bool] = []

    async def main() -> None:
        waiting = waiting_class()
        connection = await waiting.network.connect("127.0.0.1", mute)
        with waiting.move_on_after(0.2) as outer:
            with waiting.move_on_after(30) as inner:
                await connection.receive_into(memoryview(bytearray(1)))
            pytest.fail("the outer block went on")
        connection.close()
        caught.extend((outer.cancelled_caught, inner.cancelled_caught))

    begun = time.monotonic()
    run(main)
    assert 0.2 <= time.monotonic() - begun < 10
    assert caught == [True, False]


def test_an_inner_limit_leaves_the_outer_block_its_time(way: tuple[Run, type[Waiting]], mute: int) -> None:
    run, waiting_class = way
    order: list[object] = []

    async def main() -> None:
        waiting = waiting_class()
        connection = await waiting.network.connect("127.0.0.1", mute)
        with waiting.move_on_after(30) as outer:
            with waiting.move_on_after(0.1) as inner:
                try:
                    await connection.receive_into(memoryview(bytearray(1)))
                except Exception:
                    order.append("taken for an error")
                order.append("not ended")
            await waiting.sleep(0.01)
            order.append("went on")
        connection.close()
        order.extend((outer.cancelled_caught, inner.cancelled_caught))

    run(main)
    assert order == ["went on", False, True]


def test_a_pause_ends_with_the_block(way: tuple[Run, type[Waiting]]) -> None:
    run, waiting_class = way
    ended: list[bool] = []

    async def main() -> None:
        waiting = waiting_class()
        with waiting.move_on_after(0.1) as block:
            await waiting.sleep(30)
            pytest.fail("it was not ended")
        ended.append(block.cancelled_caught)

    begun = time.monotonic()
    run(main)
    assert ended == [True]
    assert 0.1 <= time.monotonic() - begun < 10


def test_what_is_sent_arrives_and_what_ends_is_told(way: tuple[Run, type[Waiting]]) -> None:
    run, waiting_class = way
    seen: list[object] = []

    def echo(listener: socket.socket) -> None:
        peer, address = listener.accept()
        with peer:
            seen.append(address[1])
            peer.sendall(peer.recv(16).upper())

    async def main() -> None:
        waiting = waiting_class()
        with waiting.move_on_after(1e12):  # more than a socket's time-out can be
            connection = await waiting.network.connect("127.0.0.1", port)
            await connection.send([b"he", bytearray(b"ll"), memoryview(b"o")])
            buffer = bytearray(16)
            count = await connection.receive_into(memoryview(buffer))
            seen.extend((connection.local_address.port, connection.peer_address.port, bytes(buffer[:count])))
            seen.append(await connection.receive_into(memoryview(buffer)))
            connection.close()

    with listening() as listener:
        port = listener.getsockname()[1]
        echoing = threading.Thread(target=echo, args=(listener,))
        echoing.start()
        run(main)
        echoing.join()
    assert seen == [seen[0], seen[0], port, b"HELLO", 0]


def test_nobody_there_is_a_lost_connection(way: tuple[Run, type[Waiting]]) -> None:
    run, waiting_class = way

    async def main() -> None:
        with pytest.raises(ConnectionLost, match=f"no connection to 127.0.0.1:{port}"):
            await waiting_class().network.connect("127.0.0.1", port)
        with pytest.raises(ConnectionLost, match=r"no connection to no-such-host\.invalid:1"):
            await waiting_class().network.connect("no-such-host.invalid", 1)
        for unknown in ("no-such-host.invalid", "a..b", "x" * 64):
            assert not await waiting_class().has_address(unknown)
        assert await waiting_class().has_address("127.0.0.1")

    with listening() as listener:
        port = listener.getsockname()[1]
    run(main)


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(backlog=0) as silent, listening() as answering, contextlib.ExitStack() as stack:
        for _ in range(4):  # what comes after those that fill its queue gets no answer
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(silent.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname()) for one in (silent, answering)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

        async def main() -> None:
            waiting = Alone()
            with waiting.move_on_after(2) as block:
                connection = await waiting.network.connect("twice.invalid", 9092)
                assert connection.peer_address.port == answering.getsockname()[1]
                connection.close()
            assert not block.cancelled_caught

        begun = time.monotonic()
        alone.run(main)
        assert time.monotonic() - begun >= 1


def test_a_kind_of_address_that_the_kernel_lacks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as answering:
        lacking = (socket.AF_INET, socket.SOCK_STREAM, 255, "", ("127.0.0.1", 1))  # no such protocol
        found = (socket.AF_INET, socket.SOCK_STREAM, 0, "", answering.getsockname())
        answers = [[lacking, found], [lacking]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop(0))

        async def main() -> None:
            network = Alone().network
            (await network.connect("twice.invalid", 9092)).close()
            with pytest.raises(ConnectionLost, match="not supported"):
                await network.connect("once.invalid", 9092)

        alone.run(main)


class SilentNameService:
    """Takes questions and does not answer before the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, host: str, port: object, *_: object, flags: int = 0, **__: object) -> list[object]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror
        self.over.wait(30)
        return []


@pytest.fixture
def silent_name_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    service = SilentNameService()
    monkeypatch.setattr(socket, "getaddrinfo", service)
    yield
    service.over.set()


@pytest.mark.usefixtures("silent_name_service")
def test_a_name_service_that_does_not_answer_has_no_more_time_than_there_is() -> None:
    async def main() -> None:
        waiting = Alone()
        with waiting.move_on_after(0.2) as block:
            await waiting.network.connect("host.invalid", 9092)
        assert block.cancelled_caught

    begun = time.monotonic()
    alone.run(main)
    assert 0.2 <= time.monotonic() - begun < 10


@pytest.mark.usefixtures("silent_name_service")
def test_waiting_for_the_name_service_can_be_interrupted() -> None:
    async def main() -> None:
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        await Alone().has_address("host.invalid")

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        alone.run(main)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_there_is_no_such_time_limit(way: tuple[Run, type[Waiting]], seconds: float) -> None:
    run, waiting_class = way

    async def main() -> None:
        with pytest.raises(ValueError, match=r"seconds|limit"):
            waiting_class().move_on_after(seconds)

    run(main)


@pytest.mark.parametrize("key", ["default.api.timeout.ms", "request.timeout.ms"])
def test_time_outs_are_not_negative(key: str) -> None:
    with pytest.raises(
        ValueError, match=f"Invalid value -1 for configuration {key}: Value must be at least 0"
    ):
        Cluster(Alone(), "h:1", {key: "-1"})


def test_a_cluster_that_does_not_answer_costs_no_more_than_its_time(
    way: tuple[Run, type[Waiting]], mute: int
) -> None:
    run, waiting_class = way
    properties = {"default.api.timeout.ms": "500", "request.timeout.ms": "200"}

    async def main() -> None:
        cluster = Cluster(waiting_class(), f"127.0.0.1:{mute}", properties)
        with pytest.raises(NotReachable, match=r"did not answer in 0\.2 s"):
            await cluster.any(MetadataRequest(topics=[]), MetadataResponse)
        cluster.close()

    begun = time.monotonic()
    run(main)
    assert 0.5 <= time.monotonic() - begun < 10


def test_who_needs_other_tasks_cannot_run_alone() -> None:
    class NeedsOthers:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def main() -> None:
        await NeedsOthers()

    with pytest.raises(RuntimeError, match="needs trio"):
        alone.run(main)


async def test_a_task_waits_as_a_task() -> None:
    assert isinstance(here(), AmongTasks)


def test_who_is_no_task_waits_alone() -> None:
    assert isinstance(here(), Alone)


def test_commands_that_ask_one_thing_after_another_do_not_import_trio() -> None:
    lines = ["import sys", *(f"import {name}" for name in WITHOUT_TRIO)]
    lines.append("print(*(name for name in ('trio', 'asyncio') if name in sys.modules))")
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "\n"
