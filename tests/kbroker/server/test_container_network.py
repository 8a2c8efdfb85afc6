"""Whom the broker tells ``localhost``, and how it finds its container's gateway."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from kbroker.server.container_network import advertised_local_host, container_gateway, default_gateway

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"
GATEWAY = "172.17.0.1"
OWN = "172.17.0.2"


def route(
    gateway: str = "0.0.0.0",
    *,
    destination: str = "0.0.0.0",
    mask: str = "0.0.0.0",
    flags: int = 0x3,
    metric: int = 0,
) -> str:
    """One line of the table, as the kernel prints it."""
    columns = [_number(destination), _number(gateway), f"{flags:04X}", "0", "0", str(metric), _number(mask)]
    return "\t".join(["eth0", *columns, "0", "0", "0"])


def _number(address: str) -> str:
    (number,) = struct.unpack("=I", bytes(map(int, address.split("."))))
    return f"{number:08X}"


def table(*lines: str) -> str:
    return "\n".join([HEADER, *lines, ""])


def write_route_table(root: Path, text: str) -> None:
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/route").write_text(text)


# Who is told what


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        pytest.param(GATEWAY, "localhost", id="through a published port"),
        pytest.param(OWN, "localhost", id="through a forwarder in the container's network, or from inside"),
        pytest.param("172.17.0.3", OWN, id="another container"),
        pytest.param("172.17.0.10", OWN, id="an address that begins like the gateway"),
    ],
)
def test_in_a_container_the_peer_decides(peer: str, told: str) -> None:
    assert advertised_local_host(OWN, peer, GATEWAY) == told


@pytest.mark.parametrize("peer", [GATEWAY, OWN, "192.168.1.7"])
def test_outside_of_containers_it_is_the_address_that_was_used(peer: str) -> None:
    assert advertised_local_host(OWN, peer, None) == OWN


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.1.1", "::1"])
def test_a_loopback_address_is_told_as_it_is(address: str) -> None:
    assert advertised_local_host(address, address, GATEWAY) == address


# The gateway


def test_the_default_route_names_the_gateway() -> None:
    text = table(
        route(destination="172.17.0.0", mask="255.255.0.0", flags=0x1),
        route(GATEWAY),
    )
    assert default_gateway(text) == GATEWAY


@pytest.mark.skipif(sys.byteorder != "little", reason="this is what a little-endian kernel prints")
def test_the_kernels_own_text_is_understood() -> None:
    line = "eth0 00000000 010011AC 0003 0 0 0 00000000 0 0 0"
    assert default_gateway(f"{HEADER}\n{line}\n") == "172.17.0.1"


def test_of_several_default_routes_the_one_with_the_lowest_metric_counts() -> None:
    text = table(route("10.0.0.1", metric=200), route("10.0.1.1", metric=100), route("10.0.2.1", metric=300))
    assert default_gateway(text) == "10.0.1.1"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(route(GATEWAY, flags=0x2), id="down"),
        pytest.param(route(flags=0x1), id="a device without a gateway"),
        pytest.param(route(GATEWAY, destination="10.0.0.0", mask="255.0.0.0"), id="to one network"),
        pytest.param(route(GATEWAY, mask="128.0.0.0"), id="to half of all networks"),
        pytest.param("eth0 00000000 nonsense 0003 0 0 0 00000000", id="no number"),
        pytest.param("eth0 00000000 1FFFFFFFF 0003 0 0 0 00000000", id="no address"),
        pytest.param("eth0 00000000", id="cut"),
        pytest.param("", id="empty"),
    ],
)
def test_other_lines_name_no_gateway(line: str) -> None:
    assert default_gateway(table(line)) is None
    assert default_gateway(table(line, route("10.0.0.1", metric=900))) == "10.0.0.1"


def test_no_table_no_gateway() -> None:
    assert default_gateway("") is None


# Only in a container


@pytest.mark.parametrize("variable", ["KBROKER_IN_CONTAINER", "container"])
def test_a_variable_tells_a_container(variable: str, tmp_path: Path) -> None:
    write_route_table(tmp_path, table(route(GATEWAY)))
    assert container_gateway({variable: "1"}, tmp_path) == GATEWAY


@pytest.mark.parametrize("marker", [".dockerenv", "run/.containerenv"])
def test_an_engines_file_tells_a_container(marker: str, tmp_path: Path) -> None:
    write_route_table(tmp_path, table(route(GATEWAY)))
    (tmp_path / marker).parent.mkdir(exist_ok=True)
    (tmp_path / marker).touch()
    assert container_gateway({}, tmp_path) == GATEWAY


def test_elsewhere_the_route_table_does_not_matter(tmp_path: Path) -> None:
    write_route_table(tmp_path, table(route(GATEWAY)))
    assert container_gateway({}, tmp_path) is None
    assert container_gateway({"KBROKER_IN_CONTAINER": ""}, tmp_path) is None


def test_a_container_without_a_route_table_has_no_gateway(tmp_path: Path) -> None:
    assert container_gateway({"KBROKER_IN_CONTAINER": "1"}, tmp_path) is None
