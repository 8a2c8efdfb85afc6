"""Listener addresses and the keys that belong to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.listeners import (
    Endpoint,
    check_distinct_ports,
    parse_connection_limits,
    parse_listeners,
    parse_protocol_map,
)

PLAIN = {"PLAINTEXT": "PLAINTEXT", "INSIDE": "PLAINTEXT", "OUTSIDE": "PLAINTEXT"}


def endpoints(*items: str) -> list[tuple[str, str, int]]:
    return [
        (endpoint.listener_name, endpoint.host, endpoint.port)
        for endpoint in parse_listeners("listeners", items, PLAIN)
    ]


def test_addresses() -> None:
    assert endpoints("PLAINTEXT://127.0.0.1:9092") == [("PLAINTEXT", "127.0.0.1", 9092)]
    assert endpoints("plaintext://:9092") == [("PLAINTEXT", "", 9092)]
    assert endpoints("INSIDE://[::1]:9092", " OUTSIDE://some-host.example:0 ") == [
        ("INSIDE", "::1", 9092),
        ("OUTSIDE", "some-host.example", 0),
    ]
    assert endpoints("INSIDE://[fe80::1%eth0]:1") == [("INSIDE", "fe80::1%eth0", 1)]


@pytest.mark.parametrize(
    "item",
    [
        "",
        "PLAINTEXT",
        "127.0.0.1:9092",
        "PLAINTEXT://127.0.0.1",
        "PLAINTEXT://127.0.0.1:",
        "PLAINTEXT://127.0.0.1:port",
        "PLAINTEXT://127.0.0.1:-1",
        "PLAINTEXT://127.0.0.1:65536",
        "PLAINTEXT://[::1:9092",
        "PLAINTEXT://ho st:9092",
        "PLAINTEXT://host:9092/path",
        "://host:9092",
    ],
)
def test_malformed_address(item: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^Invalid value .* for configuration listeners: expected NAME://host:port"
    ):
        endpoints(item)


def test_unknown_and_repeated_names() -> None:
    with pytest.raises(ConfigError, match=r"no security protocol for listener OTHER"):
        endpoints("OTHER://:9092")
    with pytest.raises(ConfigError, match=r"INSIDE is used twice"):
        endpoints("INSIDE://:9092", "inside://:9093")


def test_a_port_is_used_once_except_by_ipv4_beside_ipv6() -> None:
    def check(*hosts_and_ports: tuple[str, int]) -> None:
        check_distinct_ports(
            "listeners",
            [Endpoint(f"L{i}", "PLAINTEXT", host, port) for i, (host, port) in enumerate(hosts_and_ports)],
        )

    check(("127.0.0.1", 9092), ("::1", 9092))
    check(("a", 0), ("b", 0))
    check(("a", 1), ("a", 2))
    for taken_twice in (
        [("127.0.0.1", 9092), ("127.0.0.2", 9092)],
        [("::1", 9092), ("::2", 9092)],
        [("localhost", 9092), ("::1", 9092)],
        [("127.0.0.1", 9092), ("::1", 9092), ("::2", 9092)],
    ):
        with pytest.raises(ConfigError, match=r"port 9092 is used twice"):
            check(*taken_twice)


def test_protocol_map() -> None:
    assert parse_protocol_map("a:PLAINTEXT , B:SSL,") == {"A": "PLAINTEXT", "B": "SSL"}
    assert parse_protocol_map("") == {}
    for malformed in ("A", "A:", ":PLAINTEXT", "A:TLS", "A:plaintext"):
        with pytest.raises(ConfigError, match=r"for configuration listener\.security\.protocol\.map: "):
            parse_protocol_map(malformed)


def test_connection_limits() -> None:
    assert parse_connection_limits("127.0.0.1:5, ::1:6,") == {"127.0.0.1": 5, "::1": 6}
    assert parse_connection_limits("") == {}
    for malformed in ("127.0.0.1", "a:b", "a b:1", ":5", "a:", "[::1]:5", "a:-1"):
        with pytest.raises(ConfigError, match="address:count"):
            parse_connection_limits(malformed)


@given(st.text(alphabet="PLAINTEXT:/[]0123456789abf.%- ,", max_size=40))
def test_any_address_is_read_or_refused_with_a_config_error(item: str) -> None:
    try:
        found = parse_listeners("listeners", [item], PLAIN)
    except ConfigError as error:
        message = str(error)
        assert "\n" not in message
        return
    assert parse_listeners("listeners", [str(found[0])], PLAIN) == found


# The same through a whole broker config


def listening(**entries: str) -> BrokerConfig:
    return BrokerConfig({name.replace("_", "."): value for name, value in entries.items()})


def test_controller_listeners_are_not_opened() -> None:
    config = listening(
        listeners="PLAINTEXT://:9092,CONTROLLER://:9093", controller_listener_names="CONTROLLER"
    )
    assert [endpoint.listener_name for endpoint in config.endpoints] == ["PLAINTEXT"]
    with pytest.raises(ConfigError, match="at least one listener that is not a controller listener"):
        listening(listeners="CONTROLLER://:9093", controller_listener_names="CONTROLLER")


def test_a_listener_that_would_need_tls_or_sasl_is_refused_and_never_served_in_plain_text() -> None:
    for protocol in ("SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        with pytest.raises(ConfigError, match=f"kbroker does not serve {protocol}"):
            listening(listeners=f"{protocol}://:9093")
        with pytest.raises(ConfigError, match=f"kbroker does not serve {protocol}"):
            listening(listeners="A://:9093", listener_security_protocol_map=f"A:{protocol}")


def test_advertised_listeners() -> None:
    config = listening(
        listeners="PLAINTEXT://:9092,INSIDE://:9093",
        listener_security_protocol_map="PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT",
        advertised_listeners="PLAINTEXT://broker.example:19092",
    )
    advertised = config.advertised_endpoint("PLAINTEXT")
    assert advertised is not None and (advertised.host, advertised.port) == ("broker.example", 19092)
    assert config.advertised_endpoint("INSIDE") is None
    assert listening().advertised_endpoint("PLAINTEXT") is None


@pytest.mark.parametrize(
    ("advertised", "message"),
    [
        ("PLAINTEXT://0.0.0.0:9092", "an address that clients can connect to"),
        ("PLAINTEXT://[::]:9092", "an address that clients can connect to"),
        ("PLAINTEXT://host:0", "an address that clients can connect to"),
        ("SSL://host:9092", "one of the listeners PLAINTEXT"),
        ("nonsense", "expected NAME://host:port"),
    ],
)
def test_unusable_advertised_listeners(advertised: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        listening(advertised_listeners=advertised)


def test_inter_broker_listener() -> None:
    two = {
        "listeners": "OUTSIDE://:9092,INSIDE://:9093",
        "listener_security_protocol_map": "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT",
    }
    assert listening(**two).inter_broker_listener_name == "OUTSIDE"
    assert listening(**two, inter_broker_listener_name="inside").inter_broker_listener_name == "INSIDE"
    assert listening(listeners="PLAINTEXT://:1").inter_broker_listener_name == "PLAINTEXT"
    with pytest.raises(ConfigError, match="expected one of OUTSIDE, INSIDE"):
        listening(**two, inter_broker_listener_name="OTHER")
    with pytest.raises(ConfigError, match=r"not together with security\.inter\.broker\.protocol"):
        listening(**two, inter_broker_listener_name="INSIDE", security_inter_broker_protocol="PLAINTEXT")
