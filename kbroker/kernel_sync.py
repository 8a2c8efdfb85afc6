"""Syncing many files at once without a thread: the kernel does it, and an event descriptor tells when it is done.

Linux has had this since 4.18 (``io_submit`` with ``IOCB_CMD_FDSYNC``): one call hands over all files of a round, the
kernel's own workers sync them side by side, and nobody waits for the interpreter's lock. A file's error is reported
as ``fdatasync`` on the same descriptor would. Where a kernel or a sandbox does not offer it, threads do the work.

The C library has no functions for these system calls, hence ``ctypes``.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from struct import Struct
from typing import Any

import trio

from storage.filesystem import File, OsFile

_SETUP, _GETEVENTS, _SUBMIT = range(3)
_SYSTEM_CALLS = {"x86_64": (206, 208, 209), "aarch64": (0, 4, 2)}
"""Numbers of io_setup, io_getevents and io_submit; both machines are little-endian."""

_FILES_MAX = 128
"""How many files one context syncs at a time."""

# struct iocb: data, key, flags, opcode, priority, descriptor, ..., result descriptor
_REQUEST = Struct("<QIiHhIQQqQII")
_DESCRIPTOR = Struct("<I")
_DESCRIPTOR_AT = 20
_EVENT = Struct("<QQqq")  # struct io_event: data, request, result, second result
_FDSYNC = 3
_TELL_EVENT_DESCRIPTOR = 1


class KernelSync:
    """Any number of callers at a time; each has a context of its own, which is used again."""

    def __init__(self, run_blocking: Callable[..., Awaitable[Any]]) -> None:
        self._run_blocking = run_blocking

    def takes(self, file: File) -> bool:
        """Whether the file is the operating system's, and none that stands in for one."""
        return type(file) is OsFile

    async def sync(self, files: Sequence[File]) -> OSError | None:
        """Wait until the disk has what was written to the files; the first error. It cannot be cancelled."""
        context = _idle.pop() if _idle else _open_context()
        if context is None:  # so many are in use that the kernel gives no more
            return await self._sync_in_thread(files)
        with trio.CancelScope(shield=True):
            error, left = await context.sync(files)
            _idle.append(context)
            if left:
                in_thread = await self._sync_in_thread(left)
                error = error or in_thread
        return error

    async def _sync_in_thread(self, files: Sequence[File]) -> OSError | None:
        error: OSError | None = await self._run_blocking(_sync_each, files)
        return error


def _sync_each(files: Sequence[File]) -> OSError | None:
    """Runs in a thread."""
    try:
        for file in files:
            file.sync()
    except OSError as error:
        return error
    return None


class _Context:
    """A kernel context (``io_setup``) with an event descriptor; one caller at a time."""

    def __init__(self, number: int, calls: tuple[int, int, int]) -> None:
        self._number = ctypes.c_ulong(number)
        self._calls = calls
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._requests = ctypes.create_string_buffer(_FILES_MAX * _REQUEST.size)
        self._events = ctypes.create_string_buffer(_FILES_MAX * _EVENT.size)
        self._pointers = (ctypes.c_void_p * _FILES_MAX)()
        start = ctypes.addressof(self._requests)
        for slot in range(_FILES_MAX):
            at = slot * _REQUEST.size
            _REQUEST.pack_into(
                self._requests, at, slot, 0, 0, _FDSYNC, 0, 0, 0, 0, 0, 0, _TELL_EVENT_DESCRIPTOR, self._event
            )
            self._pointers[slot] = start + at

    async def sync(self, files: Sequence[File]) -> tuple[OSError | None, Sequence[File]]:
        """The first error, and the files that the kernel did not take."""
        error = None
        done = 0
        while done < len(files):
            batch = files[done : done + _FILES_MAX]
            taken = self._submit(batch)
            if not taken:
                break
            done += taken
            while taken:
                await trio.lowlevel.wait_readable(self._event)
                for slot, result in self._finished():
                    taken -= 1
                    if result < 0 and error is None:
                        error = OSError(-result, os.strerror(-result), getattr(batch[slot], "path", None))
        return error, files[done:]

    def _submit(self, files: Sequence[File]) -> int:
        """How many of them the kernel took, from the first on."""
        for slot, file in enumerate(files):
            _DESCRIPTOR.pack_into(self._requests, slot * _REQUEST.size + _DESCRIPTOR_AT, file.fileno())
        count: int = _system_call(
            self._calls[_SUBMIT], self._number, ctypes.c_long(len(files)), self._pointers
        )
        return max(count, 0)

    def _finished(self) -> list[tuple[int, int]]:
        """(slot, result) of the files that are done."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        count = _system_call(
            self._calls[_GETEVENTS],
            self._number,
            ctypes.c_long(0),
            ctypes.c_long(_FILES_MAX),
            self._events,
            None,
        )
        assert count >= 0, os.strerror(ctypes.get_errno())
        events = memoryview(self._events).cast("B")[: count * _EVENT.size]
        return [(slot, result) for slot, _, result, _ in _EVENT.iter_unpack(events)]


_idle: list[_Context] = []
"""They belong to the process, and last as long."""


_library = ctypes.CDLL(None, use_errno=True)
_library.syscall.restype = ctypes.c_long


def _system_call(number: int, *arguments: object) -> int:
    result: int = _library.syscall(ctypes.c_long(number), *arguments)
    return result


def _open_context() -> _Context | None:
    """None where the kernel does not offer this, or not so many."""
    calls = _SYSTEM_CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return None
    number = ctypes.c_ulong(0)
    if _system_call(calls[_SETUP], ctypes.c_uint(_FILES_MAX), ctypes.byref(number)) != 0:
        return None
    return _Context(number.value, calls)


def open_kernel_sync(run_blocking: Callable[..., Awaitable[Any]]) -> KernelSync | None:
    """None where threads must do. ``run_blocking`` is the World's."""
    if not _idle:
        context = _open_context()
        if context is None:
            return None
        _idle.append(context)
    return KernelSync(run_blocking)
