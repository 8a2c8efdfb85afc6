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
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from kbroker.broker import Broker, StartError
from kbroker.cli.command import DEFAULT_DATA_DIR, DEFAULT_HOST, DEFAULT_PORT
from kbroker.cluster import LocalCluster, companion_config
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError
from kbroker.config.listeners import listener_text
from kbroker.server.container_network import container_gateway
from kbroker.world import OsWorld

logger = logging.getLogger(__name__)

# Python's own are 700, 10, 10.
GARBAGE_COLLECTION_THRESHOLDS = (10_000, 20, 20)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2


def serve(options: argparse.Namespace) -> int:
    """Serve until told to stop; 0 after a clean stop, 1 if the broker failed, 2 for settings that make no sense."""
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        config = _load_config(options)
        _check_broker_count(config, options.brokers)
    except (ConfigError, OSError) as refusal:
        print(f"kbroker: {refusal}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    for warning in config.warnings:
        logger.warning("setting ignored: %s", warning)
    _take_all_descriptors()
    return _run_until_stopped(config, options.brokers)


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


def _run_until_stopped(config: BrokerConfig, broker_count: int) -> int:
    exit_code = EXIT_OK
    try:
        trio.run(_run, config, broker_count)
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


def _load_config(options: argparse.Namespace) -> BrokerConfig:
    overrides = list(options.override)
    if options.host is not None or options.port is not None:
        host = DEFAULT_HOST if options.host is None else options.host
        port = DEFAULT_PORT if options.port is None else options.port
        overrides.insert(0, f"listeners={listener_text('PLAINTEXT', host, port)}")
    if options.data_dir is not None:
        overrides.insert(0, f"log.dirs={options.data_dir}")
    return BrokerConfig.load(
        properties=Path(options.config).read_bytes() if options.config else None,
        environment=os.environ,
        overrides=overrides,
        default_host=DEFAULT_HOST,
        default_port=DEFAULT_PORT,
        default_data_directory=DEFAULT_DATA_DIR,
    )


async def _run(config: BrokerConfig, broker_count: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            server = _server(config, broker_count)
            nursery.start_soon(_stop_on_signal, signals, server, nursery.cancel_scope)
            ready: object = await nursery.start(server.run)
            _spare_the_garbage_collector()
            print(ready, flush=True)
            await server.wait_stopped()
            nursery.cancel_scope.cancel()


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


async def _stop_on_signal(
    signals: AsyncIterator[int], server: Broker | LocalCluster, everything: trio.CancelScope
) -> None:
    """The first signal asks the broker to stop within its deadline; a second one does not wait for it."""
    asked = False
    async for number in signals:
        name = signal.Signals(number).name
        if asked:
            logger.warning("%s again: stopping at once", name)
            everything.cancel()
            return
        logger.info("%s: stopping", name)
        asked = True
        server.stop()
