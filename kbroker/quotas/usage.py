"""What was used of a limit, and for how long whoever used too much is to wait.

``SampledRate`` is Kafka's ``Rate`` of a ``WindowedSum``, ``TokenBucket`` its namesake, the waiting ``QuotaUtils`` and
``ControllerMutationQuotaManager``. Times are in milliseconds of a clock that only moves forward.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from kbroker.config.limits import MEASURED_CLIENTS_MAX

THROTTLE_MS_MAX: Final = 2**31 - 1


class Window(NamedTuple):
    """Over how many samples of which length usage is averaged."""

    samples: int
    sample_ms: int


class Usage(Protocol):
    """What one group of clients has used."""

    def record(self, value: float, limit: float, now_ms: int) -> None: ...

    def throttle_ms(self, limit: float, now_ms: int) -> int:
        """For how long to wait until usage is within ``limit``, nothing further being used; 0 if it is."""
        ...


_User = TypeVar("_User", bound=Hashable)
_Usage = TypeVar("_Usage", bound=Usage)


def to_wait_ms(milliseconds: float) -> int:
    """Rounded as Java rounds, and no longer than a response can say. Only a limit that is no number gives none."""
    if math.isnan(milliseconds):
        return 0
    return math.floor(min(max(milliseconds, 0.0), THROTTLE_MS_MAX) + 0.5)


class RecentUsages(Generic[_User, _Usage]):
    """What each of those used who were seen last, ``MEASURED_CLIENTS_MAX`` of them."""

    def __init__(self, new_usage: Callable[[], _Usage]) -> None:
        self._new_usage = new_usage
        self._usages: OrderedDict[_User, _Usage] = OrderedDict()  # least recently used first

    def of(self, user: _User) -> _Usage:
        usage = self._usages.get(user)
        if usage is None:
            usage = self._usages[user] = self._new_usage()
            if len(self._usages) > MEASURED_CLIENTS_MAX:
                self._usages.popitem(last=False)
        else:
            self._usages.move_to_end(user)
        return usage

    def clear(self) -> None:
        self._usages.clear()


class _Sample:
    __slots__ = ("last_ms", "start_ms", "value")

    def __init__(self, now_ms: int) -> None:
        self.reset(now_ms)

    def reset(self, now_ms: int) -> None:
        self.start_ms = self.last_ms = now_ms
        self.value = 0.0


class SampledRate:
    """Usage a second, averaged over the window's samples.

    A sample begins with the first use after the one before is over, and goes when nothing was used in it for as long
    as the window is. There may be one sample more than the window has, which overlaps its beginning.
    """

    def __init__(self, window: Callable[[], Window]) -> None:
        self._window = window
        self._samples: list[_Sample] = []
        self._current = 0

    def record(self, value: float, limit: float, now_ms: int) -> None:
        window = self._window()
        if not self._samples:
            self._samples.append(_Sample(now_ms))
        sample = self._samples[self._current]
        if now_ms - sample.start_ms >= window.sample_ms:
            sample = self._next_sample(window, now_ms)
        sample.value += value
        sample.last_ms = now_ms

    def _next_sample(self, window: Window, now_ms: int) -> _Sample:
        self._current = (self._current + 1) % (window.samples + 1)
        if self._current >= len(self._samples):
            self._current = len(self._samples)
            self._samples.append(_Sample(now_ms))
        else:
            self._samples[self._current].reset(now_ms)
        return self._samples[self._current]

    def measure(self, now_ms: int) -> tuple[float, int]:
        """(units a second, milliseconds over which they are averaged)."""
        window = self._window()
        for sample in self._samples:
            if now_ms - sample.last_ms >= window.samples * window.sample_ms:
                sample.reset(now_ms)
        oldest_ms = min((sample.start_ms for sample in self._samples), default=now_ms)
        elapsed_ms = now_ms - oldest_ms
        # At least all samples but one, or the first use after a pause would be an endless rate.
        missing = window.samples - 1 - elapsed_ms // window.sample_ms
        averaged_ms = max(elapsed_ms + max(missing, 0) * window.sample_ms, 1)
        return sum(sample.value for sample in self._samples) / (averaged_ms / 1000), averaged_ms

    def throttle_ms(self, limit: float, now_ms: int) -> int:
        rate, averaged_ms = self.measure(now_ms)
        if rate <= limit:
            return 0
        if limit <= 0:
            return THROTTLE_MS_MAX
        # A use of O a second over W is one of T over W + X for X = (O - T) / T * W.
        return to_wait_ms((rate - limit) / limit * averaged_ms)


class TokenBucket:
    """``limit`` tokens come a second, up to as many as come in a whole window; using may leave less than none.

    Bursts suit it better than an average over samples, where one large use weighs until its sample is gone (KIP-599).
    """

    def __init__(self, window: Callable[[], Window]) -> None:
        self._window = window
        self._tokens: float | None = None  # full, whatever that will be
        self._filled_ms = 0

    def record(self, value: float, limit: float, now_ms: int) -> None:
        self._tokens = self.tokens(limit, now_ms) - value

    def tokens(self, limit: float, now_ms: int) -> float:
        window = self._window()
        burst = window.samples * window.sample_ms / 1000 * limit
        if self._tokens is None:
            self._tokens = burst
        else:
            self._tokens = min(burst, self._tokens + limit * (now_ms - self._filled_ms) / 1000)
        self._filled_ms = now_ms
        return self._tokens

    def throttle_ms(self, limit: float, now_ms: int) -> int:
        tokens = self.tokens(limit, now_ms)
        if tokens >= 0:
            return 0
        if limit <= 0:  # what is imported is not looked at
            return THROTTLE_MS_MAX
        return to_wait_ms(-tokens / limit * 1000)
