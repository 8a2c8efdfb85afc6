"""The quotas of users and client ids at work: what each request counts for, and for how long its client is held back.

    producer_byte_rate        bytes of Produce requests a second
    consumer_byte_rate        bytes of responses to consumers' Fetch requests a second; one too many is not sent
    request_percentage        time of the broker's thread, in percent; 100 is all of it
    controller_mutation_rate  partitions created and deleted a second, out of a token bucket (KIP-599)

Kafka: ``ClientQuotaManager``, ``ClientRequestQuotaManager``, ``ControllerMutationQuotaManager``. Only those who have a
limit are measured; in Kafka everybody is from the first limit on.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from kbroker.config.limits import INT32_MAX
from kbroker.quotas.entities import (
    CONSUMER_BYTE_RATE,
    CONTROLLER_MUTATION_RATE,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    ClientQuotas,
)
from kbroker.quotas.limits import Limits, Sharers
from kbroker.quotas.thread_time import ThreadTime
from kbroker.quotas.usage import RecentUsages, SampledRate, TokenBucket, Usage, Window
from wire.errors import ApiError, ErrorCode

_Result = TypeVar("_Result")


class QuotaSettings(Protocol):
    """How long usage is remembered; read anew at every use."""

    @property
    def quota_window_num(self) -> int: ...

    @property
    def quota_window_size_seconds(self) -> int: ...

    @property
    def controller_quota_window_num(self) -> int: ...

    @property
    def controller_quota_window_size_seconds(self) -> int: ...


def client_window(settings: QuotaSettings) -> Window:
    return Window(settings.quota_window_num, settings.quota_window_size_seconds * 1000)


def controller_window(settings: QuotaSettings) -> Window:
    return Window(settings.controller_quota_window_num, settings.controller_quota_window_size_seconds * 1000)


class Measured(NamedTuple):
    """What the sharers of a limit used, and the limit."""

    usage: Usage
    limit: float

    def record(self, value: float, now_ms: int) -> None:
        self.usage.record(value, self.limit, now_ms)

    def throttle_ms(self, now_ms: int) -> int:
        return self.usage.throttle_ms(self.limit, now_ms)


class _Quota:
    """One quota key. What was used outlives a change of limits."""

    def __init__(self, key: str, new_usage: Callable[[], Usage]) -> None:
        self._key = key
        self._limits = Limits({}, key)
        self._usages: RecentUsages[Sharers, Usage] = RecentUsages(new_usage)

    @property
    def is_enabled(self) -> bool:
        return bool(self._limits)

    def update(self, quotas: ClientQuotas) -> None:
        self._limits = Limits(quotas, self._key)
        if not self._limits:
            self._usages.clear()

    def measured(self, user: str, client_id: str) -> Measured | None:
        if not self._limits:
            return None
        sharers = self._limits.sharers(user, client_id)
        limit = self._limits.of(sharers)
        if limit is None:
            return None
        return Measured(self._usages.of(sharers), limit)


class ClientQuotaManager:
    """Knows the limits and what was used; ``is_enabled`` only while some user or client id has a limit."""

    def __init__(self, *, settings: QuotaSettings, monotonic: Callable[[], float]) -> None:
        self.is_enabled = False
        self.monotonic = monotonic
        self._settings = settings

        def sampled() -> SampledRate:
            return SampledRate(lambda: client_window(settings))

        self.produce = _Quota(PRODUCER_BYTE_RATE, sampled)
        self.fetch = _Quota(CONSUMER_BYTE_RATE, sampled)
        self.request = _Quota(REQUEST_PERCENTAGE, sampled)
        self.mutations = _Quota(
            CONTROLLER_MUTATION_RATE, lambda: TokenBucket(lambda: controller_window(settings))
        )

    def update(self, quotas: ClientQuotas) -> None:
        """From now on these quotas hold."""
        all_quotas = (self.produce, self.fetch, self.request, self.mutations)
        for quota in all_quotas:
            quota.update(quotas)
        self.is_enabled = any(quota.is_enabled for quota in all_quotas)

    def begin(self, principal: str, client_id: str, request_bytes: int) -> RequestQuotas:
        """Measure a request whose body has so many bytes. ``principal`` with its type, "User:ANONYMOUS"."""
        return RequestQuotas(self, principal.partition(":")[2], client_id, request_bytes)

    def now_ms(self) -> int:
        return int(self.monotonic() * 1000)

    @property
    def window(self) -> Window:
        return client_window(self._settings)


class RequestQuotas:
    """One request: what it counts for.

    ``throttle_time_ms``: for how long from ``settled_at`` (monotonic seconds) on its connection is not to be read from.
    """

    __slots__ = (
        "_client_id",
        "_is_settled",
        "_is_time_exempt",
        "_manager",
        "_mutations",
        "_request_bytes",
        "_thread_s",
        "_user",
        "settled_at",
        "throttle_time_ms",
    )

    def __init__(self, manager: ClientQuotaManager, user: str, client_id: str, request_bytes: int) -> None:
        self.throttle_time_ms = 0
        self.settled_at = 0.0
        self._manager = manager
        self._user = user
        self._client_id = client_id
        self._request_bytes = request_bytes
        self._thread_s = 0.0
        self._is_time_exempt = False
        self._is_settled = False
        self._mutations: MutationQuota | None = None

    def timed(self, awaited: Awaitable[_Result]) -> Awaitable[_Result]:
        """Count the thread's time that this takes."""
        if not self._manager.request.is_enabled:
            return awaited
        return ThreadTime(awaited, self._manager.monotonic, self._took)

    def _took(self, seconds: float) -> None:
        self._thread_s += seconds

    def exempt_from_time(self) -> None:
        """Produce without an answer costs nobody thread time."""
        self._is_time_exempt = True

    def charge_produce(self) -> None:
        """The request's bytes count as produced."""
        measured = self._measured(self._manager.produce)
        if measured is not None:
            now_ms = self._manager.now_ms()
            measured.record(self._request_bytes, now_ms)
            self._throttle(measured.throttle_ms(now_ms))

    def fetch_bytes_max(self) -> int | None:
        """More than that would be too much whatever was fetched before, and so never be sent; None: no bound."""
        measured = self._measured(self._manager.fetch)
        if measured is None:
            return None
        window = self._manager.window
        bytes_max = measured.limit * (window.samples - 1) * window.sample_ms / 1000
        return None if math.isnan(bytes_max) else int(min(bytes_max, INT32_MAX))

    def charge_fetch(self, response_bytes: Callable[[], int]) -> bool:
        """Whether these bytes may be sent. If not, they do not count, and an empty answer is due."""
        self.settle()
        measured = self._measured(self._manager.fetch)
        if measured is not None:
            size_bytes, now_ms = response_bytes(), self._manager.now_ms()
            measured.record(size_bytes, now_ms)
            self._throttle(measured.throttle_ms(now_ms))
            if self.throttle_time_ms:
                measured.record(-size_bytes, now_ms)
        return not self.throttle_time_ms

    def mutations(self, *, is_strict: bool) -> MutationQuota:
        """A quota for the partitions that this request creates or deletes."""
        self._mutations = self.unsettled_mutations(is_strict=is_strict)
        return self._mutations

    def unsettled_mutations(self, *, is_strict: bool) -> MutationQuota:
        """One that refuses, but does not have the connection held back."""
        return MutationQuota(
            self._measured(self._manager.mutations), self._manager.now_ms, is_strict=is_strict
        )

    def settle(self) -> None:
        """The request has been handled: the time that it took counts, and may be too much.

        What it takes from now on counts as well, but without an effect on this request.
        """
        measured = self._record_time()
        if self._is_settled:
            return
        self._is_settled = True
        self.settled_at = self._manager.monotonic()
        if measured is not None:
            bound_ms = self._manager.window.sample_ms
            self._throttle(min(measured.throttle_ms(self._manager.now_ms()), bound_ms))
        if self._mutations is not None:
            self._throttle(self._mutations.throttle_ms())

    def throttle_time_left_ms(self) -> int:
        """What of it is still to come, for an answer that had to wait itself."""
        passed_ms = (self._manager.monotonic() - self.settled_at) * 1000
        return max(self.throttle_time_ms - int(passed_ms), 0)

    def _record_time(self) -> Measured | None:
        seconds, self._thread_s = self._thread_s, 0.0
        measured = None if self._is_time_exempt else self._measured(self._manager.request)
        if measured is not None:
            measured.record(seconds * 100, self._manager.now_ms())
        return measured

    def _measured(self, quota: _Quota) -> Measured | None:
        return quota.measured(self._user, self._client_id)

    def _throttle(self, milliseconds: int) -> None:
        self.throttle_time_ms = max(self.throttle_time_ms, milliseconds)


class MutationQuota:
    """What one request may do to partitions (KIP-599).

    A strict quota refuses while less than no tokens are left, whatever the number of partitions, and else lets them all
    pass. One that is not, for clients that do not know the error, lets everything pass and throttles afterwards.
    """

    def __init__(self, measured: Measured | None, now_ms: Callable[[], int], *, is_strict: bool) -> None:
        self._measured = measured
        self._now_ms = now_ms
        self._is_strict = is_strict
        self._throttled_until_ms = 0

    def record(self, partitions: int) -> None:
        """ApiError THROTTLING_QUOTA_EXCEEDED if a strict quota is used up."""
        measured = self._measured
        if measured is None:
            return
        now_ms = self._now_ms()
        if self._is_strict:
            throttle_ms = measured.throttle_ms(now_ms)
            if throttle_ms:
                self._throttled_until_ms = now_ms + throttle_ms
                raise ApiError(ErrorCode.THROTTLING_QUOTA_EXCEEDED)
            measured.record(partitions, now_ms)
        else:
            measured.record(partitions, now_ms)
            throttle_ms = measured.throttle_ms(now_ms)
            if throttle_ms:
                self._throttled_until_ms = now_ms + throttle_ms

    def throttle_ms(self) -> int:
        """What is left of the time to wait."""
        return max(self._throttled_until_ms - self._now_ms(), 0) if self._throttled_until_ms else 0
