"""How often an address may connect (KIP-612, Kafka: ``ConnectionQuotas``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from kbroker.config.limits import MEASURED_CLIENTS_MAX
from kbroker.quotas.client_quotas import QuotaSettings, client_window
from kbroker.quotas.entities import CONNECTION_CREATION_RATE, IP, ClientQuotas
from kbroker.quotas.usage import SampledRate

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


class ConnectionRates:
    """Counts the connections of addresses that have a limit; ``is_enabled`` only while there is some limit."""

    def __init__(self, *, settings: QuotaSettings, monotonic: Callable[[], float]) -> None:
        self.is_enabled = False
        self._settings = settings
        self._monotonic = monotonic
        self._default: float | None = None
        self._limits: dict[_Address, float] = {}
        self._rates: OrderedDict[_Address, SampledRate] = OrderedDict()  # least recently used first

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
        self.is_enabled = self._default is not None or bool(self._limits)
        if not self.is_enabled:
            self._rates.clear()

    def throttle_ms(self, host: str) -> int:
        """0: a new connection is fine, and counts. Else it is to be closed, but only after that time."""
        address = address_of(host)
        limit = None if address is None else self._limits.get(address, self._default)
        if address is None or limit is None:
            return 0
        rate = self._rates.get(address)
        if rate is None:
            rate = self._rates[address] = SampledRate(lambda: client_window(self._settings))
            if len(self._rates) > MEASURED_CLIENTS_MAX:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(address)
        now_ms = int(self._monotonic() * 1000)
        rate.record(1, limit, now_ms)
        throttle_ms = min(rate.throttle_ms(limit, now_ms), client_window(self._settings).sample_ms)
        if throttle_ms:
            rate.record(-1, limit, now_ms)
        return throttle_ms
