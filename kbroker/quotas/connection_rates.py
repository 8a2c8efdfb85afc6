"""How often clients may connect: all of them, and each address (KIP-612, Kafka: ``ConnectionQuotas``)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, Protocol

from kbroker.config.limits import INT32_MAX
from kbroker.quotas.client_quotas import QuotaSettings, client_window
from kbroker.quotas.entities import CONNECTION_CREATION_RATE, IP, ClientQuotas
from kbroker.quotas.usage import RecentUsages, SampledRate

_Address = IPv4Address | IPv6Address

_LOCALHOST = "localhost"


def address_of(name: str) -> _Address | None:
    """The address that a quota's entity names: numbers, or this machine's own. None if it is neither.

    Kafka asks the name service for others, once when a quota is set; here nobody waits for a name service.
    """
    try:
        address = ip_address("127.0.0.1" if name == _LOCALHOST else name.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class ListenerPlace(NamedTuple):
    """A listener among the broker's; one that brokers have for themselves keeps nobody of them waiting."""

    name: str
    is_alone: bool


class ConnectionSettings(QuotaSettings, Protocol):
    @property
    def max_connection_creation_rate(self) -> int:
        """Connections a second of all listeners together."""
        ...

    @property
    def inter_broker_listener_name(self) -> str: ...


class ConnectionRates:
    """Counts new connections, of the broker and of addresses that have a limit."""

    def __init__(self, *, settings: ConnectionSettings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._of_all = SampledRate(lambda: client_window(settings))
        self._monotonic = monotonic
        self._default: float | None = None
        self._limits: dict[_Address, float] = {}
        self._rates: RecentUsages[_Address, SampledRate] = RecentUsages(
            lambda: SampledRate(lambda: client_window(settings))
        )

    def update(self, quotas: ClientQuotas) -> None:
        """From now on these quotas hold."""
        self._default, self._limits = None, {}
        for entity, values in quotas.items():
            names = dict(entity)
            if IP not in names or CONNECTION_CREATION_RATE not in values:
                continue
            name, limit = names[IP], values[CONNECTION_CREATION_RATE]
            address = None if name is None else address_of(name)
            if name is None:
                self._default = limit
            elif address is not None:
                self._limits[address] = limit
        if self._default is None and not self._limits:
            self._rates.clear()

    def wait_ms(self, listener: ListenerPlace) -> int:
        """For how long a new connection, and those behind it on its listener, wait until it is served."""
        if not self._is_counted(listener):
            return 0
        limit, now_ms = self._settings.max_connection_creation_rate, self._now_ms()
        self._of_all.record(1, limit, now_ms)
        return self._bounded(self._of_all.throttle_ms(limit, now_ms))

    def _is_counted(self, listener: ListenerPlace) -> bool:
        return self._settings.max_connection_creation_rate < INT32_MAX and (
            listener.is_alone or listener.name != self._settings.inter_broker_listener_name
        )

    def throttle_ms(self, host: str, listener: ListenerPlace) -> int:
        """0: a new connection is fine, and counts. Else it is to be closed, but only after that time."""
        if self._default is None and not self._limits:
            return 0
        address = address_of(host)
        limit = None if address is None else self._limits.get(address, self._default)
        if address is None or limit is None:
            return 0
        rate = self._rates.of(address)
        now_ms = self._now_ms()
        rate.record(1, limit, now_ms)
        throttle_ms = self._bounded(rate.throttle_ms(limit, now_ms))
        if throttle_ms:
            rate.record(-1, limit, now_ms)
            if self._is_counted(listener):
                self._of_all.record(-1, limit, now_ms)
        return throttle_ms

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1000)

    def _bounded(self, throttle_ms: int) -> int:
        return min(throttle_ms, client_window(self._settings).sample_ms)
