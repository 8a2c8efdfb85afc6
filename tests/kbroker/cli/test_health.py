"""``kbroker health`` against brokers that are well, and brokers that are not."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from kbroker.cli.command import main
from kbroker.cli.health import (
    Unhealthy,
    check,
    check_controller,
    own_address,
    own_controller,
)
from kbroker.os_world import OsNetwork
from kbroker.tools.among_tasks import AmongTasks
from kbroker.world import Address, Connection, ConnectionLost
from wire.framing import FrameReader
from wire.headers import decode_request, encode_response
from wire.messages.api_versions import ApiVersionsResponse
from wire.messages.metadata import MetadataResponse
from wire.schema import Response

Answer = Callable[[int], Response | None]
"""What a broker says to a request, by its API key; None: nothing, for ever."""

VERSIONS = ApiVersionsResponse(
    api_keys=[
        ApiVersionsResponse.ApiVersion(api_key=3, min_version=0, max_version=12),
        ApiVersionsResponse.ApiVersion(api_key=18, min_version=0, max_version=3),
    ]
)


def metadata(*node_ids: int) -> MetadataResponse:
    return MetadataResponse(
        cluster_id="here",
        brokers=[
            MetadataResponse.MetadataResponseBroker(node_id=node_id, host="h", port=1) for node_id in node_ids
        ],
    )


def answer_with(response: MetadataResponse | None) -> Answer:
    return lambda api_key: VERSIONS if api_key == 18 else response


@asynccontextmanager
async def broker(answer: Answer) -> AsyncIterator[Address]:
    listener = await OsNetwork().listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept, functools.partial(_serve, answer=answer), listener.accept, nursery)
        yield listener.address
        nursery.cancel_scope.cancel()
    listener.close()


async def _accept(serve: Callable, accept: Callable, nursery: trio.Nursery) -> None:  # type: ignore[type-arg]
    while True:
        nursery.start_soon(serve, await accept())


async def _serve(connection: Connection, answer: Answer) -> None:
    frames = FrameReader(1_000_000)
    try:
        while True:
            while (frame := frames.next_frame()) is None:
                count = await connection.receive_into(frames.buffer_to_fill())
                if not count:
                    return
                frames.filled(count)
            header, _ = decode_request(frame)
            response = answer(header.request_api_key)
            if response is None:
                await trio.sleep_forever()
            assert response is not None
            version = header.request_api_version
            parts = encode_response(response, version, header.correlation_id)
            await connection.send(
                [part for part in parts if isinstance(part, bytes | bytearray | memoryview)]
            )
    except ConnectionLost:
        return
    finally:
        connection.close()


async def test_a_broker_that_answers_is_healthy() -> None:
    async with broker(answer_with(metadata(1, 2))) as address:
        said = await check(AmongTasks(), address, 5.0)
    assert said == f"healthy bootstrap={address} node.ids=1,2 cluster.id=here"


async def test_a_broker_without_brokers_is_not() -> None:
    async with broker(answer_with(metadata())) as address:
        with pytest.raises(Unhealthy, match="no broker"):
            await check(AmongTasks(), address, 5.0)


@pytest.mark.parametrize("answer", [answer_with(None), lambda _: None], ids=["after ApiVersions", "at all"])
async def test_a_broker_that_does_not_answer_is_not(answer: Answer) -> None:
    async with broker(answer) as address:
        with pytest.raises(Unhealthy, match=r"within 0\.05 s"):
            await check(AmongTasks(), address, 0.05)


async def test_a_port_that_nobody_listens_on_is_not() -> None:
    listener = await OsNetwork().listen("127.0.0.1", 0)
    listener.close()
    with pytest.raises(Unhealthy, match="no connection"):
        await check(AmongTasks(), listener.address, 5.0)


async def test_a_peer_that_hangs_up_is_not() -> None:
    async def hang_up(connection: Connection) -> None:
        connection.close()

    listener = await OsNetwork().listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept, hang_up, listener.accept, nursery)
        with pytest.raises(Unhealthy, match="not well"):
            await check(AmongTasks(), listener.address, 5.0)
        nursery.cancel_scope.cancel()
    listener.close()


@pytest.mark.parametrize(
    ("environment", "properties", "address"),
    [
        pytest.param({}, None, Address("127.0.0.1", 9092), id="nothing said"),
        pytest.param(
            {"KAFKA_LISTENERS": "PLAINTEXT://:9095"}, None, Address("127.0.0.1", 9095), id="every address"
        ),
        pytest.param({"KAFKA_LISTENERS": "PLAINTEXT://[::]:9095"}, None, Address("::1", 9095), id="IPv6"),
        pytest.param(
            {"KAFKA_LISTENERS": "PLAINTEXT://10.0.0.1:9095"},
            None,
            Address("10.0.0.1", 9095),
            id="one address",
        ),
        pytest.param({}, b"listeners=PLAINTEXT://:9096", Address("127.0.0.1", 9096), id="properties file"),
        pytest.param(
            {"KAFKA_LISTENERS": "PLAINTEXT://:9095"},
            b"listeners=PLAINTEXT://:9096",
            Address("127.0.0.1", 9095),
            id="variable over file",
        ),
        pytest.param(
            {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://elsewhere:9097"},
            None,
            Address("127.0.0.1", 9097),
            id="advertised",
        ),
        pytest.param(
            {
                "KAFKA_LISTENERS": "CONTROLLER://:9093,OUTSIDE://:9095",
                "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,OUTSIDE:PLAINTEXT",
            },
            None,
            Address("127.0.0.1", 9095),
            id="not the controller's",
        ),
    ],
)
def test_it_finds_the_broker_of_its_own_environment(
    environment: dict[str, str], properties: bytes | None, address: Address
) -> None:
    assert own_address(environment, properties) == address


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(("--bootstrap-server", "nowhere"), "HOST:PORT", id="no address"),
        pytest.param(("--bootstrap-server", "127.0.0.1:1"), "no connection", id="nobody there"),
        pytest.param(
            ("--bootstrap-server", "127.0.0.1:1,nowhere"), "no connection", id="the first of several"
        ),
    ],
)
def test_the_command_fails_with_one_line(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["health", *arguments])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kbroker health: ")
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_a_malformed_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_LISTENERS", "nonsense")
    with pytest.raises(SystemExit) as ended:
        main(["health"])
    assert ended.value.code == 1
    assert "listeners" in capsys.readouterr().err


CONTROLLER = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@c-1:9093,2@c-2:9093,3@c-3:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENERS": "CONTROLLER://:9095",
}


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, Address("127.0.0.1", 9095)),
        ({"KAFKA_LISTENERS": "CONTROLLER://10.0.0.1:9093"}, Address("10.0.0.1", 9093)),
        (
            {
                "KAFKA_PROCESS_ROLES": "broker,controller",
                "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            },
            None,
        ),
        ({"KAFKA_PROCESS_ROLES": "broker", "KAFKA_NODE_ID": "4"}, None),
    ],
)
def test_a_controller_is_no_broker_to_ask(changes: dict[str, str], address: Address | None) -> None:
    assert own_controller({**CONTROLLER, **changes}, None) == address
    assert own_controller({}, None) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"health":"true"}', None),
        (b'{"health":"false","reason":"NO LEADER"}', "not healthy"),
        (b"no JSON", "not healthy"),
        (None, "no connection"),
    ],
)
async def test_a_controllers_etcd_says_how_it_is(body: bytes | None, told: str | None) -> None:
    async def answer(connection: Connection) -> None:
        await connection.receive_into(memoryview(bytearray(4096)))
        await connection.send([b"HTTP/1.1 200 OK\r\n\r\n" + (body or b"")])
        connection.close()

    listener = await OsNetwork().listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        if body is None:
            listener.close()
        else:
            nursery.start_soon(_accept, answer, listener.accept, nursery)
        if told is None:
            said = await check_controller(OsNetwork(), listener.address, 5.0)
            assert said == f"healthy controller={listener.address}"
        else:
            with pytest.raises(Unhealthy, match=told):
                await check_controller(OsNetwork(), listener.address, 5.0)
        nursery.cancel_scope.cancel()
    listener.close()
