"""``listeners``, ``advertised.listeners`` and the keys that belong to them, as endpoints.

Syntax and rules are Kafka's (``SocketServerConfigs.listenerListToEndPoints``, ``KafkaConfig``): names are
upper case, an empty host is every interface, IPv6 hosts stand in brackets, and a port is used once, except
by one IPv4 and one IPv6 address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kbroker.config.definition import ConfigError

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SERVED_SECURITY_PROTOCOLS = frozenset({"PLAINTEXT"})

_LISTENER = re.compile(
    r"(?P<name>.+?)://(\[(?P<ipv6>[0-9a-zA-Z:.%]+)\]|(?P<host>[0-9a-zA-Z\-%._:]*)):(?P<port>[0-9]{1,5})"
)
_EXAMPLE = "expected NAME://host:port, for example PLAINTEXT://127.0.0.1:9092 or PLAINTEXT://[::1]:9092"


class Endpoint(NamedTuple):
    """One listener: ``host`` is without brackets, and empty for every interface."""

    listener_name: str
    security_protocol: str
    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.is_ipv6 else self.host
        return f"{self.listener_name}://{host}:{self.port}"


def listener_text(name: str, host: str, port: int) -> str:
    """``NAME://host:port`` with brackets where the host needs them."""
    return str(Endpoint(name, "", host, port))


def parse_protocol_map(text: str) -> dict[str, str]:
    """``NAME:PROTOCOL,...`` as a mapping; names in upper case."""
    key = "listener.security.protocol.map"
    protocols: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, colon, protocol = (part.strip() for part in item.rpartition(":"))
        if not colon or not name:
            raise ConfigError(key, text, "expected a comma-separated list of NAME:PROTOCOL")
        if protocol not in SECURITY_PROTOCOLS:
            raise ConfigError(key, text, f"{protocol} is not one of {', '.join(SECURITY_PROTOCOLS)}")
        protocols[name.upper()] = protocol
    return protocols


def parse_listeners(key: str, items: Iterable[str], protocols: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints that ``items`` name, in order; no name may occur twice."""
    endpoints: dict[str, Endpoint] = {}
    for item in items:
        match = _LISTENER.fullmatch(item.strip())
        if match is None or int(match["port"]) > 65_535:
            raise ConfigError(key, item, _EXAMPLE)
        name = match["name"].upper()
        if name not in protocols:
            raise ConfigError(
                key, item, f"listener.security.protocol.map names no security protocol for listener {name}"
            )
        if name in endpoints:
            raise ConfigError(key, item, f"listener name {name} is used twice")
        host = match["ipv6"] or match["host"]
        endpoints[name] = Endpoint(name, protocols[name], host, int(match["port"]))
    return tuple(endpoints.values())


def check_distinct_ports(key: str, endpoints: Iterable[Endpoint]) -> None:
    """Refuse a port that two listeners share, unless one has an IPv4 and the other an IPv6 address."""
    by_port: dict[int, list[Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.port:
            by_port.setdefault(endpoint.port, []).append(endpoint)
    for port, sharing in by_port.items():
        one_of_each = (
            len(sharing) == 2
            and sharing[0].is_ipv6 != sharing[1].is_ipv6
            and all(endpoint.is_ipv6 or _is_ipv4(endpoint.host) for endpoint in sharing)
        )
        if len(sharing) > 1 and not one_of_each:
            raise ConfigError(key, ",".join(map(str, sharing)), f"port {port} is used twice")


def check_served(key: str, endpoints: Iterable[Endpoint]) -> None:
    """Refuse a security protocol that kbroker does not speak: it must never fall back to plain text."""
    for endpoint in endpoints:
        if endpoint.security_protocol not in SERVED_SECURITY_PROTOCOLS:
            raise ConfigError(
                key,
                str(endpoint),
                f"kbroker does not serve {endpoint.security_protocol}; "
                f"expected {' or '.join(sorted(SERVED_SECURITY_PROTOCOLS))}",
            )


def parse_connection_limits(text: str) -> dict[str, int]:
    """``max.connections.per.ip.overrides``: address -> count, from ``address:count,...`` without brackets."""
    key = "max.connections.per.ip.overrides"
    limits: dict[str, int] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        address, _, count = item.rpartition(":")
        address = address.strip()
        if not re.fullmatch(r"[0-9a-zA-Z\-%._:]+", address) or not re.fullmatch(r"[0-9]{1,9}", count.strip()):
            raise ConfigError(key, text, "expected a comma-separated list of address:count")
        limits[address] = int(count)
    return limits


def _is_ipv4(host: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", host) is not None
