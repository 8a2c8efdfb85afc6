"""The contract between a coordinator's state machine and the runtime that drives it.

A machine holds the state of one shard: one partition of ``__consumer_offsets`` or ``__transaction_state``.
Its calls are plain functions without I/O, clock or randomness. A call decides and returns a ``Result``:

    operation(machine, caller, now_ms) -> Result(response, records, replies, timers, pending)
        |
        |  1. timers are set and cancelled; replies wake the calls that earlier operations parked
        |  2. records are appended to the shard's log in one batch
        |       append failed:  append_finished(pending, AppendFailure(written=False)); caller gets the error
        |  3. replay(...) applies the appended records to the state
        |  4. the records become committed (at once, or when the in-sync replicas have them)
        |       not in time:    append_finished(pending, AppendFailure(written=True)); caller gets the error
        |                       (``until_committed``: only the caller hears of it, the machine goes on waiting)
        v
    append_finished(pending, None, now_ms) -> Result;  caller gets the response

Nothing is replayed that is not in the log, so a failed append needs no undoing of replayed state. State
that is not in the log (the classic protocol's join phase) is the machine's own: it changes it while it
decides, and takes back in ``append_finished`` what must not stay.

The model is Kafka's ``CoordinatorShard`` and ``CoordinatorResult``; ``pending`` stands for its append future.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from wire.errors import ErrorCode

ResponseT = TypeVar("ResponseT")

Caller = object
"""Whoever waits for the answer to one call. Machines only keep it and hand it back in a ``Reply``."""


class CoordinatorRecord(NamedTuple):
    """A record to append: its bytes, and what the bytes say, as ``Machine.replay`` takes it."""

    key: bytes
    value: bytes | None
    content: Any


class Reply(NamedTuple):
    """The answer to a call that was parked (``Result.response`` was None when it was made)."""

    caller: Caller
    response: Any


class Schedule(NamedTuple):
    """Have ``timer_fired(event)`` called in ``delay_ms``, in place of what ``key`` had scheduled before."""

    key: Hashable
    delay_ms: int
    event: Any


class Cancel(NamedTuple):
    """Forget what was scheduled under ``key``, if anything."""

    key: Hashable


class AppendFailure(NamedTuple):
    """Why the records of a result did not become committed.

    ``error`` is the code for clients, already mapped as Kafka's coordinators map it. ``written`` says that
    the records are in the log all the same (they were replayed, and may still become committed).
    """

    error: ErrorCode
    written: bool


@dataclass(slots=True)
class Result(Generic[ResponseT]):
    """What one call decided; also the thing that the parts of a machine collect their decisions in.

    response: the answer to this very call, given once ``records`` are committed; if they fail, the caller
        gets the error instead. None parks the call: it is the machine's to answer, by a ``Reply`` in a
        later result, whatever becomes of the records.
    records: what to append. ``replay`` False leaves out ``Machine.replay``, for records that describe
        state which the machine has changed already.
    replies: answers to parked calls, given at once.
    timers: changes of keyed timers, in order.
    pending: handed to ``Machine.append_finished`` when the records are committed or have failed.
    atomic: all records must fit one batch; otherwise they may be spread over several.
    after_earlier_writes: without records of its own, hold the response until all earlier ones are committed.
    until_committed: ``append_finished`` is not called when the records are late but when they are committed,
        however long that takes. For machines whose state must never differ from what the log may say.
    effects: what has to be done outside of the shard, in the words of the coordinator's service.
    """

    response: ResponseT | None = None
    records: list[CoordinatorRecord] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    timers: list[Schedule | Cancel] = field(default_factory=list)
    pending: Any = None
    replay: bool = True
    atomic: bool = True
    after_earlier_writes: bool = False
    until_committed: bool = False
    effects: list[Any] = field(default_factory=list)

    def reply(self, caller: Caller, response: Any) -> None:
        self.replies.append(Reply(caller, response))

    def schedule(self, key: Hashable, delay_ms: int, event: Any) -> None:
        self.timers.append(Schedule(key, max(delay_ms, 0), event))

    def cancel(self, key: Hashable) -> None:
        self.timers.append(Cancel(key))


class Machine(Protocol):
    """The state of one shard, as the runtime sees it. Offsets are those of the shard's log."""

    def decode(self, key: bytes, value: bytes | None) -> Any:
        """The content of a record of the log; None for a record type that this machine does not know.

        Raises ProtocolError when the bytes of a known type cannot be read.
        """
        ...

    def replay(self, offset: int, producer_id: int, content: Any) -> None:
        """Apply one record. ``producer_id`` is -1 outside of transactions."""
        ...

    def replay_end_transaction(self, offset: int, producer_id: int, committed: bool) -> None:
        """Apply the marker that ends the transaction which ``producer_id`` has open here, if it has one."""
        ...

    def advance_committed(self, offset: int) -> None:
        """All records below ``offset`` are committed."""
        ...

    def loaded(self, now_ms: int) -> Result[None]:
        """The whole log has been replayed and the shard serves from now on: start the timers."""
        ...

    def unloaded(self) -> Result[None]:
        """The shard no longer serves here: answer whoever waits. Only the replies count."""
        ...

    def timer_fired(self, event: Any, now_ms: int) -> Result[None]: ...

    def append_finished(self, pending: Any, failure: AppendFailure | None, now_ms: int) -> Result[None]:
        """The records of the result that carried ``pending`` are committed, or failed."""
        ...
