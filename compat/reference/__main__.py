"""``python -m compat.reference``: start Apache Kafka with the arguments of ``kbroker serve``.

    python -m compat.reference --data-dir DIR [--host H] [--port P] [--override key=value ...]

A single node that is broker and controller, formatted when its directory is empty. It prints the line that kbroker
prints once clients can connect, so whatever starts a kbroker (``tests/broker_process.py``) can start the reference
instead. The process becomes the Java one: its id, its memory and the signals sent to it are Apache Kafka's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from compat.reference.maven import NoReferenceError, class_path
from compat.reference.server_properties import CLUSTER_ID, server_properties
from tests.broker_process import READY_PREFIX, free_port

DEFAULT_HEAP = "-Xmx1G -Xms1G"
"""What kafka-server-start.sh gives a broker; KAFKA_HEAP_OPTS says otherwise, as there."""


def main() -> None:
    """Format where needed, leave a watcher behind that prints the ready line, and become Java."""
    options = _parser().parse_args()
    try:
        path = class_path()
    except NoReferenceError as error:
        sys.exit(f"no Apache Kafka: {error}")
    data_dir = Path(options.data_dir).resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    port = options.port or free_port()
    overrides = dict(text.split("=", 1) for text in options.override)
    settings = server_properties(data_dir, host=options.host, port=port, overrides=overrides)
    properties = data_dir.parent / f"{data_dir.name}.server.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    if not any(
        (Path(directory) / "meta.properties").exists() for directory in settings["log.dirs"].split(",")
    ):
        _format(path, properties)
    bootstrap = settings["listeners"].split(",")[0].rpartition("://")[2]
    if os.fork() == 0:
        _announce(bootstrap, os.getppid())
        os._exit(0)
    heap = os.environ.get("KAFKA_HEAP_OPTS", DEFAULT_HEAP).split()
    flags = os.environ.get("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseG1GC -XX:MaxGCPauseMillis=20").split()
    line = ["java", *heap, *flags, "-Djava.awt.headless=true", "-cp", path, "kafka.Kafka", str(properties)]
    os.execvp(line[0], line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compat.reference", description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--override", metavar="KEY=VALUE", action="append", default=[])
    return parser


def _format(path: str, properties: Path) -> None:
    line = ["java", "-XX:TieredStopAtLevel=1", "-cp", path, "kafka.tools.StorageTool", "format"]
    done = subprocess.run([*line, "-t", CLUSTER_ID, "-c", str(properties)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"no Apache Kafka: it cannot format its directory: {done.stdout}{done.stderr}")


def _announce(bootstrap: str, broker_pid: int) -> None:
    """In the watcher: print the ready line when the broker serves metadata; end with the broker."""
    import trio

    from kbroker.client import BrokerClient
    from kbroker.world import ConnectionLost, OsNetwork
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
