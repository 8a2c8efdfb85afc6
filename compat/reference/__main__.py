"""``python -m compat.reference``: start Apache Kafka with the arguments of ``kbroker serve``.

    python -m compat.reference --data-dir DIR [--host H] [--port P] [--override key=value ...]

A single node that is broker and controller, formatted when its directory is empty. It prints the line that kbroker
prints once clients can connect, so whatever starts a kbroker (``tests/broker_process.py``) can start the reference
instead. The process becomes the Java one: its id, its memory and the signals sent to it are Apache Kafka's.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from compat.reference.maven import NoReferenceError
from compat.reference.node import prepare
from tests.broker_process import READY_PREFIX, free_port


def main() -> None:
    """Format where needed, leave a watcher behind that prints the ready line, and become Java."""
    options = _parser().parse_args()
    overrides = dict(text.split("=", 1) for text in options.override)
    try:
        node = prepare(
            Path(options.data_dir),
            host=options.host,
            port=options.port or free_port(),
            overrides=overrides,
        )
    except NoReferenceError as error:
        sys.exit(f"no Apache Kafka: {error}")
    broker_pid = os.getpid()
    if os.fork() == 0:
        _announce(node.bootstrap, broker_pid)
        os._exit(0)
    os.execvp(node.command[0], node.command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compat.reference", description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--override", metavar="KEY=VALUE", action="append", default=[])
    return parser


def _announce(bootstrap: str, broker_pid: int) -> None:
    """In the watcher: print the ready line when the broker serves metadata; end with the broker."""
    import trio

    from kbroker.client import BrokerClient
    from kbroker.os_world import OsNetwork
    from kbroker.world import ConnectionLost
    from wire.messages.metadata import MetadataRequest, MetadataResponse

    host, _, port = bootstrap.rpartition(":")

    async def wait() -> None:
        while os.getppid() == broker_pid:
            try:
                async with await BrokerClient.connect(OsNetwork(), host, int(port)) as client:
                    answer = await client.request(MetadataRequest(topics=[]), MetadataResponse)
                    if answer.brokers:
                        print(f"{READY_PREFIX} bootstrap={bootstrap} (Apache Kafka)", flush=True)
                        return
            except ConnectionLost:
                pass
            await trio.sleep(0.05)

    trio.run(wait)


if __name__ == "__main__":
    main()
