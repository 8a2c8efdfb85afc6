"""How often addresses may connect."""

from __future__ import annotations

import pytest

from kbroker.quotas.connection_rates import ConnectionRates, address_of
from kbroker.quotas.entities import CLIENT_ID, IP, entity_of
from tests.kbroker.quotas.quota_clock import QuotaClock, QuotaSettings


class Subject:
    def __init__(self, **limits: float) -> None:
        """``any`` for the default."""
        self.clock = QuotaClock()
        self.settings = QuotaSettings()
        self.rates = ConnectionRates(settings=self.settings, monotonic=self.clock.monotonic)
        self.update(**limits)

    def update(self, **limits: float) -> None:
        self.rates.update(
            {
                entity_of({IP: {"any": None}.get(host, host.replace("_", "."))}): {
                    "connection_creation_rate": limit
                }
                for host, limit in limits.items()
            }
        )


def test_it_is_enabled_while_an_address_has_a_limit() -> None:
    assert not Subject().rates.is_enabled
    assert Subject(any=1.0).rates.is_enabled
    subject = Subject(_1_1_1_1=1.0)
    subject.rates.update({entity_of({CLIENT_ID: "c"}): {"producer_byte_rate": 1.0}})
    assert not subject.rates.is_enabled


def test_a_connection_too_many_does_not_count() -> None:
    subject = Subject(any=1.0)
    assert [subject.rates.throttle_ms("1.1.1.1") for _ in range(10)] == [0] * 10
    assert subject.rates.throttle_ms("1.1.1.1") == 1000
    assert subject.rates.throttle_ms("2.2.2.2") == 0
    subject.clock.now += 5
    assert [subject.rates.throttle_ms("1.1.1.1") for _ in range(20)] == [1000] * 20
    subject.clock.now += 6
    assert subject.rates.throttle_ms("1.1.1.1") == 0


def test_it_waits_for_a_sample_at_most() -> None:
    subject = Subject(any=0.01)
    subject.settings.quota_window_size_seconds = 3
    assert subject.rates.throttle_ms("1.1.1.1") == 3000


def test_an_addresss_own_limit_goes_before_the_default() -> None:
    subject = Subject(any=0.01)
    subject.rates.update(
        {
            entity_of({IP: None}): {"connection_creation_rate": 0.01},
            entity_of({IP: "localhost"}): {"connection_creation_rate": 100.0},
            entity_of({IP: "no.such.host"}): {"connection_creation_rate": 100.0},
        }
    )
    assert subject.rates.throttle_ms("127.0.0.1") == 0
    assert subject.rates.throttle_ms("::ffff:127.0.0.1") == 0
    assert subject.rates.throttle_ms("127.0.0.2") == 1000


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_names_of_this_machine(name: str) -> None:
    assert str(address_of(name)) == "127.0.0.1"


def test_an_address_has_one_value_however_it_is_written() -> None:
    assert address_of("2001:DB8:0::1") == address_of("[2001:db8::1]")
    assert address_of("1.1.1") is None
    assert address_of("example.org") is None
