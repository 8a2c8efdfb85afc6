"""``kbroker serve``: read the settings, run the broker, stop it on SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol

import trio

from kbroker.broker import Broker, StartError
from kbroker.cli.command import DEFAULT_DATA_DIR, DEFAULT_HOST, DEFAULT_PORT
from kbroker.cluster import LocalCluster, companion_config
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.listeners import listener_text
from kbroker.config.sources import gather
from kbroker.os_world import OsWorld
from kbroker.server.container_network import container_gateway

logger = logging.getLogger(__name__)

# Python's own are 700, 10, 10.
GARBAGE_COLLECTION_THRESHOLDS = (10_000, 20, 20)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2


class Companion(Protocol):
    """What a broker needs beside it: it starts before, and ends after. When it ends by itself, the broker stops too."""

    @property
    def failure(self) -> str | None:
        """Why it ended, if not because of ``stop``."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Has started when the broker can; returns when it has ended. StartError if it cannot start."""
        ...

    def stop(self) -> None: ...

    async def wait_ended(self) -> None: ...


Announce = Callable[[object], None]
"""Says that clients can connect now; gets what ``str()`` makes the line that says so."""


def serve(
    options: argparse.Namespace,
    *,
    companion: Companion | None = None,
    acted_on: Collection[str] = (),
    announce: Announce | None = None,
) -> int:
    """Serve until told to stop; 0 after a clean stop, 1 if the broker failed, 2 for settings that make no sense.

    ``acted_on``: keys that somebody else acts on, so that no warning is due.
    """
    start_logging(options)
    try:
        config = load_config(options)
        _check_broker_count(config, options.brokers)
    except (ConfigError, OSError) as refusal:
        print(f"kbroker: {refusal}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    for warning in config.warnings:
        if warning.name not in acted_on:
            logger.warning("setting ignored: %s", warning)
    _take_all_descriptors()
    return run_until_stopped(_run, config, options.brokers, companion, announce or _print)


def start_logging(options: argparse.Namespace) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )


def _print(ready: object) -> None:
    print(ready, flush=True)


def _check_broker_count(config: BrokerConfig, broker_count: int) -> None:
    if broker_count < 1:
        raise ConfigError("--brokers", str(broker_count), "there must be one at least")
    if broker_count > 1 and config.kbroker_metadata_store != "embedded":
        raise ConfigError(
            "--brokers",
            str(broker_count),
            "several brokers of one process have their own store, and need no etcd",
        )


def _take_all_descriptors() -> None:
    """As many open files as the system lets this process have, as a JVM takes them; the default is for shells."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited", and refuses it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_until_stopped(main: Callable[..., Awaitable[object]], *arguments: object) -> int:
    """The exit code of a node; StartError is for whoever started it, anything else for whoever mends it."""
    exit_code = EXIT_OK
    try:
        trio.run(main, *arguments)
    except* StartError as group:
        for error in _leaves(group):
            print(f"kbroker: {error}", file=sys.stderr)
        exit_code = EXIT_FAILED
    except* Exception:
        logger.critical("the broker failed", exc_info=True)
        exit_code = EXIT_FAILED
    return exit_code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def load_config(options: argparse.Namespace) -> BrokerConfig:
    """The settings that the command line, the environment and a properties file give. ConfigError, OSError."""
    return BrokerConfig(static_settings(options))


def static_settings(options: argparse.Namespace) -> dict[str, str]:
    """The same before anybody looks into them, by Kafka's keys. ConfigError, OSError."""
    overrides = list(options.override)
    if options.host is not None or options.port is not None:
        host = DEFAULT_HOST if options.host is None else options.host
        port = DEFAULT_PORT if options.port is None else options.port
        overrides.insert(0, f"listeners={listener_text('PLAINTEXT', host, port)}")
    if options.data_dir is not None:
        overrides.insert(0, f"log.dirs={options.data_dir}")
    return gather(
        properties=Path(options.config).read_bytes() if options.config else None,
        environment=os.environ,
        overrides=overrides,
        default_host=DEFAULT_HOST,
        default_port=DEFAULT_PORT,
        default_data_directory=DEFAULT_DATA_DIR,
    )


async def _run(
    config: BrokerConfig, broker_count: int, companion: Companion | None, announce: Announce
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            server = _server(config, broker_count)
            companion_starts = trio.CancelScope()

            def stop() -> None:
                companion_starts.cancel()  # a broker that has not begun to start has nothing to stop
                server.stop()

            nursery.start_soon(stop_on_signal, signals, stop, nursery.cancel_scope)
            if companion is not None:
                with companion_starts:
                    await nursery.start(companion.run)
                    nursery.start_soon(_stop_without, companion, server)
            if not companion_starts.cancel_called:
                ready: object = await nursery.start(server.run)
                _spare_the_garbage_collector()
                announce(ready)
                await server.wait_stopped()
            if companion is not None:
                companion.stop()
                await companion.wait_ended()
            nursery.cancel_scope.cancel()
    if companion is not None and companion.failure is not None:
        raise StartError(companion.failure)


def _server(config: BrokerConfig, broker_count: int) -> Broker | LocalCluster:
    world, gateway = OsWorld(), container_gateway(os.environ)
    if broker_count == 1:
        return Broker(config=config, world=world, container_gateway=gateway)
    configs = [companion_config(config, number) for number in range(broker_count)]
    return LocalCluster(configs=configs, world=world, container_gateway=gateway)


def _spare_the_garbage_collector() -> None:
    """Keep what a started broker consists of out of every later collection, and collect less often.

    A request leaves no cycles behind; going through all modules and schemas to find that out is what a
    request would otherwise wait for now and then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_COLLECTION_THRESHOLDS)


async def _stop_without(companion: Companion, server: Broker | LocalCluster) -> None:
    await companion.wait_ended()
    if companion.failure is not None:
        server.stop()


async def stop_on_signal(
    signals: AsyncIterator[int], stop: Callable[[], None], everything: trio.CancelScope
) -> None:
    """The first signal asks for a stop, which has its deadlines; a second one does not wait for it."""
    asked = False
    async for number in signals:
        name = signal.Signals(number).name
        if asked:
            logger.warning("%s again: stopping at once", name)
            everything.cancel()
            return
        logger.info("%s: stopping", name)
        asked = True
        stop()
