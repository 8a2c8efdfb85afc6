"""How often addresses may connect."""

from __future__ import annotations

import pytest

from kbroker.quotas.connection_rates import ConnectionRates, ListenerPlace, address_of
from kbroker.quotas.entities import CLIENT_ID, IP, entity_of
from tests.kbroker.quotas.quota_clock import QuotaClock, QuotaSettings

HERE = ListenerPlace("CLIENTS", is_alone=True)


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


def test_without_a_limit_nothing_is_counted() -> None:
    subject = Subject()
    subject.rates.update({entity_of({CLIENT_ID: "c"}): {"producer_byte_rate": 1.0}})
    for _ in range(1000):
        assert subject.rates.throttle_ms("1.1.1.1", HERE) == 0
        assert subject.rates.wait_ms(HERE) == 0
    subject.settings.max_connection_creation_rate = 1
    subject.update(any=1.0)
    assert subject.rates.throttle_ms("1.1.1.1", HERE) == 0
    assert subject.rates.wait_ms(HERE) == 0


def test_the_broker_serves_so_many_a_second_and_each_counts() -> None:
    subject = Subject()
    subject.settings.max_connection_creation_rate = 10
    assert [subject.rates.wait_ms(HERE) for _ in range(100)] == [0] * 100
    assert subject.rates.wait_ms(HERE) == 100
    assert subject.rates.wait_ms(HERE) == 200
    for _ in range(20):
        subject.rates.wait_ms(HERE)
    assert subject.rates.wait_ms(HERE) == 1000
    subject.settings.max_connection_creation_rate = 0
    assert subject.rates.wait_ms(HERE) == 1000


def test_who_is_refused_for_its_address_does_not_count_for_the_broker() -> None:
    subject = Subject(any=1.0)
    subject.settings.max_connection_creation_rate = 2
    for _ in range(10):
        assert (subject.rates.wait_ms(HERE), subject.rates.throttle_ms("1.1.1.1", HERE)) == (0, 0)
    for _ in range(50):
        assert (subject.rates.wait_ms(HERE), subject.rates.throttle_ms("1.1.1.1", HERE)) == (0, 1000)
    assert (subject.rates.wait_ms(HERE), subject.rates.throttle_ms("2.2.2.2", HERE)) == (0, 0)


def test_brokers_with_a_listener_for_themselves_do_not_wait() -> None:
    subject = Subject()
    subject.settings.max_connection_creation_rate = 0
    assert subject.rates.wait_ms(ListenerPlace("BROKERS", is_alone=False)) == 0
    assert subject.rates.wait_ms(ListenerPlace("CLIENTS", is_alone=False)) == 1000
    assert subject.rates.wait_ms(ListenerPlace("BROKERS", is_alone=True)) == 1000


def test_a_connection_too_many_does_not_count() -> None:
    subject = Subject(any=1.0)
    assert [subject.rates.throttle_ms("1.1.1.1", HERE) for _ in range(10)] == [0] * 10
    assert subject.rates.throttle_ms("1.1.1.1", HERE) == 1000
    assert subject.rates.throttle_ms("2.2.2.2", HERE) == 0
    subject.clock.now += 5
    assert [subject.rates.throttle_ms("1.1.1.1", HERE) for _ in range(20)] == [1000] * 20
    subject.clock.now += 6
    assert subject.rates.throttle_ms("1.1.1.1", HERE) == 0


def test_it_waits_for_a_sample_at_most() -> None:
    subject = Subject(any=0.01)
    subject.settings.quota_window_size_seconds = 3
    assert subject.rates.throttle_ms("1.1.1.1", HERE) == 3000


def test_an_addresss_own_limit_goes_before_the_default() -> None:
    subject = Subject(any=0.01)
    subject.rates.update(
        {
            entity_of({IP: None}): {"connection_creation_rate": 0.01},
            entity_of({IP: "localhost"}): {"connection_creation_rate": 100.0},
            entity_of({IP: "no.such.host"}): {"connection_creation_rate": 100.0},
        }
    )
    assert subject.rates.throttle_ms("127.0.0.1", HERE) == 0
    assert subject.rates.throttle_ms("::ffff:127.0.0.1", HERE) == 0
    assert subject.rates.throttle_ms("127.0.0.2", HERE) == 1000


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_names_of_this_machine(name: str) -> None:
    assert str(address_of(name)) == "127.0.0.1"


def test_an_address_has_one_value_however_it_is_written() -> None:
    assert address_of("2001:DB8:0::1") == address_of("[2001:db8::1]")
    assert address_of("1.1.1") is None
    assert address_of("example.org") is None
