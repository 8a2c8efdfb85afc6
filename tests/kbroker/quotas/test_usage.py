"""Rates over samples, token buckets and times to wait. Figures named Kafka's are those of its own unit tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.config.limits import MEASURED_CLIENTS_MAX
from kbroker.quotas.usage import THROTTLE_MS_MAX, RecentUsages, SampledRate, TokenBucket, Usage, Window

WINDOW = Window(samples=11, sample_ms=1000)


def rate(window: Window = WINDOW) -> SampledRate:
    return SampledRate(lambda: window)


def bucket(window: Window = WINDOW) -> TokenBucket:
    return TokenBucket(lambda: window)


def use(usage: Usage, value: float, limit: float, now_ms: int) -> int:
    usage.record(value, limit, now_ms)
    return usage.throttle_ms(limit, now_ms)


def test_kafkas_spike_of_bytes() -> None:
    subject = rate()
    for second in range(10):
        assert use(subject, 400, 500, second * 1000) == 0
    # 400 * 10 + 2300 in 10.5 s are 600 a second: (600 - 500) / 500 * 10.5 s.
    assert use(subject, 2300, 500, 10_500) == 2100
    for second in range(10):
        use(subject, 400, 500, 12_600 + second * 1000)
    assert use(subject, 0, 500, 22_600) == 0


def test_kafkas_spike_of_thread_time() -> None:
    subject = rate()
    for second in range(10):
        assert use(subject, 0.4, 1, second * 1000) == 0
    assert use(subject, 6.71, 1, 10_500) == 210


def test_the_first_use_counts_as_one_of_all_samples_but_one() -> None:
    assert rate().measure(5_000) == (0, 10_000)
    subject = rate()
    assert use(subject, 5000, 500, 7) == 0
    assert subject.measure(7) == (500, 10_000)
    assert use(subject, 1, 500, 7) == 2


def test_a_sample_goes_when_it_was_not_used_for_a_window() -> None:
    subject = rate()
    subject.record(1000, 1, 0)
    subject.record(1000, 1, 900)
    assert subject.measure(11_899)[0] > 0
    assert subject.measure(11_900) == (0, 10_000)


def test_a_sample_that_overlaps_the_beginning_of_the_window_is_the_eleventh_and_one() -> None:
    subject = rate()
    for second in range(12):
        subject.record(1, 1, second * 1000)
    # The first was last used a whole window ago.
    value, averaged_ms = subject.measure(11_000)
    assert (value * averaged_ms / 1000, averaged_ms) == (11, 10_000)
    subject = rate()
    subject.record(1, 1, 0)
    subject.record(1, 1, 500)
    for second in range(1, 12):
        subject.record(1, 1, second * 1000)
    value, averaged_ms = subject.measure(11_000)
    assert (value * averaged_ms / 1000, averaged_ms) == (13, 11_000)


def test_what_is_taken_back_leaves_no_trace() -> None:
    subject = rate()
    subject.record(100, 1, 0)
    before = subject.measure(500)
    subject.record(77, 1, 500)
    subject.record(-77, 1, 500)
    assert subject.measure(500) == before


def test_one_sample_alone() -> None:
    subject = rate(Window(1, 1000))
    assert use(subject, 1, 1000, 0) == 0
    assert subject.measure(0) == (1000, 1)
    assert use(subject, 1, 1000, 0) == 1


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 10_000)), min_size=1, max_size=40),
    st.integers(1, 5_000),
    st.integers(2, 12),
)
def test_who_has_waited_is_within_the_limit(uses: list[tuple[int, int]], limit: int, samples: int) -> None:
    window = Window(samples, 700)
    for subject in (rate(window), bucket(window)):
        now_ms = 0
        for pause_ms, value in uses:
            now_ms += pause_ms
            throttle_ms = use(subject, value, limit, now_ms)
        if isinstance(subject, TokenBucket):
            if throttle_ms > 2:
                assert subject.throttle_ms(limit, now_ms + throttle_ms - 2) > 0
        else:
            # An average does not fall before its samples are old enough to count as elapsed time.
            throttle_ms = max(throttle_ms, samples * window.sample_ms)
        assert subject.throttle_ms(limit, now_ms + throttle_ms) <= 1  # rounding


def test_kafkas_burst_of_a_token_bucket() -> None:
    subject = bucket(Window(100, 1000))
    assert subject.tokens(5, 0) == 500
    assert use(subject, 560, 5, 0) == 12_000
    assert subject.throttle_ms(5, 11_999) == 1
    assert subject.throttle_ms(5, 12_000) == 0
    assert subject.tokens(5, 1_000_000) == 500


def test_a_bucket_begins_full_and_follows_its_limit() -> None:
    subject = bucket()
    assert use(subject, 110, 10, 0) == 0
    assert use(subject, 1, 10, 0) == 100
    assert subject.throttle_ms(100, 0) == 10
    assert subject.tokens(1, 20_000) == 11


def test_times_to_wait_are_what_a_response_can_say() -> None:
    assert use(rate(), 1e300, 1e-300, 0) == THROTTLE_MS_MAX
    assert use(rate(), 1, float("nan"), 0) == 0
    assert use(rate(), 1, float("inf"), 0) == 0
    assert use(bucket(), 1e300, 1e-300, 0) == THROTTLE_MS_MAX
    assert use(bucket(), 1, float("nan"), 0) == 0


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_who_may_use_nothing_waits_for_ever(limit: float) -> None:
    """Kafka's metadata may hold such values; they are imported as they are."""
    assert use(rate(), 1, limit, 0) == THROTTLE_MS_MAX
    assert use(bucket(), 1, limit, 0) == THROTTLE_MS_MAX


def test_who_was_seen_least_recently_is_forgotten() -> None:
    usages: RecentUsages[int, SampledRate] = RecentUsages(rate)
    first, second = usages.of(0), usages.of(1)
    for number in range(2, MEASURED_CLIENTS_MAX):
        usages.of(number)
    assert usages.of(0) is first
    usages.of(MEASURED_CLIENTS_MAX)
    assert usages.of(0) is first
    assert usages.of(1) is not second
