"""A watch on etcd that survives its connection.

                    a batch for every revision from which on it was asked; then, when
    silence         for RENEWAL_S: the stream is opened anew, for it may be half-open
    broken, ended   (a member stopped, or lost its leader): opened anew at the next member
    compacted       WatchCompactedError
    token refused   login, and opened anew; EtcdRefusedError if that does not help
    no member       StoreUnavailableError, and so if streams break at once over and over

A new stream begins one revision *before* the next one that is wanted, and what is known already is dropped.
It costs one batch, and it closes a hole: compacting at a revision that deleted keys removes the deletion,
too, and yet many releases of etcd 3.4 and 3.5 let a watch begin there, which then misses it (etcd issues
18089 and 19179). Events older than asked for, as a member that lags behind may send (issue 20221), are dropped
likewise. Progress notifications are not asked for: in releases as old they run ahead of events (issue 15220).

etcd never divides one revision among several messages unless asked to ("fragment"), so a message's
events of one revision are all of that transaction.
"""

from __future__ import annotations

import json
from collections import deque
from itertools import groupby
from types import TracebackType
from typing import Final

import trio

from kbroker.metadata.etcd_gateway import EtcdGateway, GatewayStream
from kbroker.metadata.etcd_messages import (
    PERMISSION_DENIED,
    EtcdRefusedError,
    Failure,
    Json,
    KeySpace,
    failure_behind,
    failure_in,
)
from kbroker.metadata.store import StoreError, StoreUnavailableError, WatchBatch, WatchCompactedError

RENEWAL_S: Final = 5.0
"""How long a watch may be silent; the price of renewing is one request."""

_FIRST_REVISION: Final = 1


class WatchDecoder:
    """Turns the bytes of watch streams, one stream after another, into batches without gap or repetition."""

    def __init__(self, keys: KeySpace, from_revision: int) -> None:
        self._keys = keys
        self._rest = bytearray()
        self.next_revision = from_revision

    def restart(self) -> int:
        """A new stream begins: the revision at which to have it start."""
        self._rest.clear()
        return max(_FIRST_REVISION, self.next_revision - 1)

    def feed(self, data: bytes) -> list[WatchBatch]:
        """WatchCompactedError, EtcdRefusedError or StoreUnavailableError if the stream says that it is over."""
        self._rest += data
        if b"\n" not in data:
            return []  # a long message comes in many pieces: it is not to be searched again with each of them
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        return [batch for line in lines if line.strip() for batch in self._message(json.loads(line))]

    def _message(self, message: Json) -> list[WatchBatch]:
        failure = failure_in(message)
        if failure is not None:
            raise _exception(failure)
        result = message["result"]
        if compacted := int(result.get("compact_revision", 0)):
            raise WatchCompactedError(f"revision {self.next_revision} is before {compacted}")
        if result.get("canceled"):
            raise _exception(failure_behind(str(result.get("cancel_reason", ""))))
        events = [self._keys.event(row) for row in result.get("events", ())]
        batches = [
            WatchBatch(revision, tuple(event for _, event in group))
            for revision, group in groupby(events, key=lambda found: found[0])
            if revision >= self.next_revision
        ]
        if batches:
            self.next_revision = batches[-1].revision + 1
        return batches


def _exception(failure: Failure) -> StoreError:
    if failure.is_refusal:
        return EtcdRefusedError(failure.code, failure.message)
    return StoreUnavailableError(f"etcd ended the watch: {failure.message}")


class EtcdWatch:
    """One ``Watch``; holds a connection from the first batch asked for until it is left."""

    def __init__(
        self,
        gateway: EtcdGateway,
        keys: KeySpace,
        prefix: str,
        from_revision: int,
        *,
        renewal_s: float = RENEWAL_S,
    ) -> None:
        self._gateway = gateway
        self._keys = keys
        self._prefix = prefix
        self._renewal_s = renewal_s
        self._decoder = WatchDecoder(keys, from_revision)
        self._stream: GatewayStream | None = None
        self._batches: deque[WatchBatch] = deque()
        self._breaks = 0
        self._is_login_fresh = False

    async def __aenter__(self) -> EtcdWatch:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._leave_stream()

    def __aiter__(self) -> EtcdWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        await trio.lowlevel.checkpoint()
        while not self._batches:
            await self._receive()
        return self._batches.popleft()

    async def _receive(self) -> None:
        """Wait for more from the stream; see the table above for what else may happen."""
        stream = self._stream
        if stream is None:
            request = self._keys.watch_request(self._prefix, self._decoder.restart())
            stream = self._stream = await self._gateway.open_stream("/v3/watch", request)
        is_silent = True
        try:
            with trio.move_on_after(self._renewal_s):
                data = await stream.receive()
                is_silent = False
            if not is_silent:
                self._take(self._decoder.feed(data))
                return
        except EtcdRefusedError as error:
            await self._leave_stream()
            await self._log_in_after(error, stream.token)
        except StoreUnavailableError:
            await self._leave_stream()
            self._gateway.pass_over(stream.endpoint)
            self._breaks += 1
            if self._breaks > self._gateway.endpoint_count:
                self._breaks = 0
                raise
        except BaseException:
            # Cancelled while it read, the stream is of no more use.
            await self._leave_stream()
            raise
        else:
            await self._leave_stream()
            self._is_well()

    def _take(self, batches: list[WatchBatch]) -> None:
        self._batches.extend(batches)
        if batches:
            self._is_well()

    def _is_well(self) -> None:
        self._breaks = 0
        self._is_login_fresh = False

    async def _log_in_after(self, error: EtcdRefusedError, token: str | None) -> None:
        """A token that has run out is told from a user who may not by logging in: once, and then it is final."""
        is_about_user = error.wants_login or error.code == PERMISSION_DENIED
        if self._is_login_fresh or not is_about_user:
            raise error
        self._is_login_fresh = True
        await self._gateway.log_in(instead_of=token)

    async def _leave_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
