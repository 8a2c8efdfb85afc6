"""What a request counts for, and for how long its connection is held back."""

from __future__ import annotations

import pytest

from kbroker.quotas.client_quotas import ClientQuotaManager, RequestQuotas
from kbroker.quotas.entities import USER, entity_of
from tests.kbroker.quotas.quota_clock import CLIENT, QuotaClock, QuotaSettings
from wire.errors import ApiError, ErrorCode


class Subject:
    def __init__(self, **values: float) -> None:
        self.clock = QuotaClock()
        self.settings = QuotaSettings()
        self.manager = ClientQuotaManager(settings=self.settings, monotonic=self.clock.monotonic)
        self.manager.update({CLIENT: values} if values else {})

    def request(self, size_bytes: int = 0, client_id: str = "c") -> RequestQuotas:
        return self.manager.begin("User:u", client_id, size_bytes)

    def produced(self, size_bytes: int) -> int:
        request = self.request(size_bytes)
        request.charge_produce()
        request.settle()
        return request.throttle_time_ms

    async def worked(self, seconds: float, *, is_exempt: bool = False) -> RequestQuotas:
        async def work() -> None:
            self.clock.now += seconds

        request = self.request()
        await request.timed(work())
        if is_exempt:
            request.exempt_from_time()
        request.settle()
        return request


def test_it_is_enabled_while_a_client_has_a_limit() -> None:
    subject = Subject()
    assert not subject.manager.is_enabled
    for key in ("producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"):
        subject.manager.update({CLIENT: {key: 1.0}})
        assert subject.manager.is_enabled
    subject.manager.update({entity_of({"ip": None}): {"connection_creation_rate": 1.0}})
    assert not subject.manager.is_enabled


def test_produced_bytes_are_averaged_over_the_window() -> None:
    subject = Subject(producer_byte_rate=100.0)
    assert subject.produced(1000) == 0
    assert subject.produced(100) == 1000
    subject.clock.now += 10
    assert subject.produced(0) == 1000
    subject.clock.now += 1
    assert subject.produced(0) == 0
    subject.settings.quota_window_num = 3
    assert subject.produced(300) == 1000


def test_those_who_have_no_limit_wait_for_nothing() -> None:
    subject = Subject(producer_byte_rate=1.0)
    request = subject.request(10**9, client_id="d")
    request.charge_produce()
    assert request.charge_fetch(lambda: pytest.fail("nobody wants to know"))
    assert request.fetch_bytes_max() is None
    request.mutations(is_strict=True).record(10**9)
    request.settle()
    assert request.throttle_time_ms == 0


def test_a_users_connections_share_its_limit() -> None:
    subject = Subject()
    subject.manager.update({entity_of({USER: "u"}): {"producer_byte_rate": 100.0}})
    for client_id in ("c", "d"):
        request = subject.request(1000, client_id)
        request.charge_produce()
    assert request.throttle_time_ms == 10_000


def test_a_new_limit_is_for_what_was_used_before_as_well() -> None:
    subject = Subject(producer_byte_rate=100.0)
    subject.produced(1000)
    subject.manager.update({CLIENT: {"producer_byte_rate": 50.0}})
    assert subject.produced(0) == 10_000
    subject.manager.update({})
    subject.manager.update({CLIENT: {"producer_byte_rate": 50.0}})
    assert subject.produced(0) == 0


def test_a_fetch_that_is_too_much_is_not_sent_and_does_not_count() -> None:
    subject = Subject(consumer_byte_rate=100.0)
    assert subject.request().charge_fetch(lambda: 1000)
    for _ in range(2):
        refused = subject.request()
        assert not refused.charge_fetch(lambda: 100)
        assert refused.throttle_time_ms == 1000
    subject.clock.now += 11
    assert subject.request().charge_fetch(lambda: 100)


def test_a_fetch_is_never_larger_than_all_samples_but_one_may_have() -> None:
    assert Subject(consumer_byte_rate=100.0).request().fetch_bytes_max() == 1000
    assert Subject(consumer_byte_rate=2.0**62).request().fetch_bytes_max() == 2**31 - 1
    assert Subject(consumer_byte_rate=float("nan")).request().fetch_bytes_max() is None
    assert Subject(producer_byte_rate=1.0).request().fetch_bytes_max() is None


async def test_thread_time_counts_in_percent_and_holds_back_for_a_sample_at_most() -> None:
    subject = Subject(request_percentage=10.0)
    assert (await subject.worked(1)).throttle_time_ms == 0
    request = await subject.worked(0.05)
    # 105 percent-seconds over 10.05 s against 10: (10.4478 - 10) / 10 * 10.05 s.
    assert request.throttle_time_ms == 450
    assert (await subject.worked(5)).throttle_time_ms == 1000
    subject.settings.quota_window_size_seconds = 2
    assert (await subject.worked(5)).throttle_time_ms == 2000


async def test_time_after_the_answer_is_known_counts_for_the_next() -> None:
    subject = Subject(request_percentage=10.0)

    async def work() -> None:
        subject.clock.now += 2

    request = await subject.worked(0)
    await request.timed(work())
    request.settle()
    assert request.throttle_time_ms == 0
    assert (await subject.worked(0)).throttle_time_ms == 1000


async def test_time_counts_once() -> None:
    subject = Subject(request_percentage=10.0)
    request = await subject.worked(0.9)
    request.settle()
    assert (await subject.worked(0)).throttle_time_ms == 0


async def test_an_exempt_request_costs_no_time() -> None:
    subject = Subject(request_percentage=10.0)
    assert (await subject.worked(9, is_exempt=True)).throttle_time_ms == 0
    assert (await subject.worked(0)).throttle_time_ms == 0


async def test_too_much_time_makes_a_fetch_empty() -> None:
    subject = Subject(request_percentage=10.0, consumer_byte_rate=1000.0)
    await subject.worked(5)
    request = subject.request()
    assert not request.charge_fetch(lambda: 10_000)
    assert request.throttle_time_ms == 1000
    subject.manager.update({CLIENT: {"consumer_byte_rate": 1000.0}})
    assert subject.request().charge_fetch(lambda: 10_000)


def test_the_longest_time_is_the_one_to_wait() -> None:
    subject = Subject(producer_byte_rate=100.0, controller_mutation_rate=1.0)
    request = subject.request(1100)
    request.charge_produce()
    request.mutations(is_strict=False).record(11 + 3)
    request.settle()
    assert request.throttle_time_ms == 3000


def test_a_strict_quota_refuses_once_tokens_are_missing() -> None:
    subject = Subject(controller_mutation_rate=1.0)
    request = subject.request()
    quota = request.mutations(is_strict=True)
    quota.record(20)
    with pytest.raises(ApiError) as refusal:
        quota.record(1)
    assert refusal.value.code is ErrorCode.THROTTLING_QUOTA_EXCEEDED
    subject.clock.now += 2
    request.settle()
    assert request.throttle_time_ms == 7000
    subject.clock.now += 7
    subject.request().mutations(is_strict=True).record(1)


def test_a_strict_quota_that_is_not_used_up_throttles_nobody() -> None:
    request = Subject(controller_mutation_rate=1.0).request()
    request.mutations(is_strict=True).record(1000)
    request.settle()
    assert request.throttle_time_ms == 0


def test_a_permissive_quota_lets_pass_and_throttles() -> None:
    subject = Subject(controller_mutation_rate=1.0)
    request = subject.request()
    quota = request.mutations(is_strict=False)
    quota.record(11)
    quota.record(2)
    request.settle()
    assert request.throttle_time_ms == 2000


def test_the_controllers_window_is_its_own() -> None:
    subject = Subject(controller_mutation_rate=1.0)
    subject.settings.controller_quota_window_num = 2
    subject.settings.controller_quota_window_size_seconds = 3
    request = subject.request()
    request.mutations(is_strict=False).record(7)
    request.settle()
    assert request.throttle_time_ms == 1000


def test_what_topics_made_for_metadata_cost_does_not_hold_the_connection_back() -> None:
    request = Subject(controller_mutation_rate=1.0).request()
    quota = request.unsettled_mutations(is_strict=True)
    quota.record(20)
    with pytest.raises(ApiError):
        quota.record(1)
    request.settle()
    assert request.throttle_time_ms == 0
