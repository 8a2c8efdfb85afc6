"""The command line: ``kbroker serve``, ``container``, ``health``, ``wire decode``, and those of ``kbroker.prompt``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from kbroker.prompt import arguments as prompt
from kbroker.tools.scripts import imported

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9092
DEFAULT_DATA_DIR = "./kbroker-data"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with the command's exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in prompt.COMMANDS:
        from kbroker.prompt.command import run

        run(given)
    options = _parser().parse_args(given)
    # Each command's code is imported when it is the one that runs: the start of the broker is timed.
    if options.command == "serve":
        sys.exit(imported("kbroker.cli.serve", "serve")(options))
    if options.command == "container":
        sys.exit(imported("kbroker.cli.container", "serve_in_container")(options))
    if options.command == "health":
        from kbroker.cli.health import health

        sys.exit(health(options))
    if options.command in ("import-kafka", "export-kafka"):
        from kbroker.cli.kafka_metadata import export_kafka, import_kafka

        sys.exit(import_kafka(options) if options.command == "import-kafka" else export_kafka(options))
    from kbroker.cli.wire_decode import decode

    sys.exit(decode(options))


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that imports more than the rest of this module."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        print(f"kbroker {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kbroker")
    except PackageNotFoundError:
        return "(not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kbroker", description="A Kafka broker in Python.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="start a broker", description=_SERVE_DESCRIPTION))
    container = commands.add_parser(
        "container", help="serve, as a container's command", description=_CONTAINER_DESCRIPTION
    )
    _add_serve(container)
    container.set_defaults(log_level=None, brokers=None)
    _add_health(
        commands.add_parser("health", help="ask a broker whether it is well", description=_HEALTH_DESCRIPTION)
    )
    _add_import_kafka(
        commands.add_parser(
            "import-kafka",
            help="bring Apache Kafka's metadata into the store",
            description=_IMPORT_KAFKA_DESCRIPTION,
        )
    )
    export = commands.add_parser(
        "export-kafka",
        help="write the metadata for Apache Kafka to go on with",
        description=_EXPORT_KAFKA_DESCRIPTION,
    )
    _add_settings(export)
    export.set_defaults(host=None, port=None)
    for name, text in prompt.COMMANDS.items():
        commands.add_parser(name, help=text)  # for the list in --help: main has taken them already
    wire = commands.add_parser("wire", help="look at protocol bytes")
    wire_commands = wire.add_subparsers(dest="wire_command", required=True, metavar="COMMAND")
    _add_decode(wire_commands.add_parser("decode", help="print a message readably"))
    return parser


_SERVE_DESCRIPTION = """
Start a broker and serve until SIGTERM or SIGINT. Prints one line beginning "kbroker ready" on standard output
when clients can connect; everything else goes to standard error.
Settings, in rising priority: Kafka's defaults, --config, KAFKA_* environment variables, --override.
A cluster: several brokers in this process with --brokers, or a process on each machine, with a node.id of its own,
kbroker.metadata.store=etcd and kbroker.etcd.endpoints.
"""

_CONTAINER_DESCRIPTION = """
The command of the container image: "kbroker serve" that listens on every address and keeps its data in the
image's volume, where no option, variable or mounted server.properties says otherwise. KBROKER_BROKERS=N is --brokers N.
Where controller.quorum.voters names several nodes, they are one cluster, and each voter runs an etcd member.
"""

_HEALTH_DESCRIPTION = """
Ask a broker for its metadata. Exit code 0 if it answers, 1 if it does not. Without --bootstrap-server it is
the broker that "kbroker serve" would be in this environment: its first listener, as KAFKA_LISTENERS names it.
"""


_IMPORT_KAFKA_DESCRIPTION = """
Bring the topics, configs and producer ids of a stopped Apache Kafka, which are in a log directory of its, into a
metadata store that has no cluster yet. "kbroker serve" does so by itself where the store is its own; with etcd, run
this once, on the broker whose copy goes furthest (--dry-run says how far each goes). See docs/MIGRATION.md.
"""


_EXPORT_KAFKA_DESCRIPTION = """
Write the cluster's metadata into the log directories of a stopped broker as Apache Kafka's controllers keep it, so that
Apache Kafka can be started on them. The last thing to do before that. See docs/MIGRATION.md.
"""


def _add_import_kafka(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what there is")
    parser.set_defaults(host=None, port=None)


def _add_health(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bootstrap-server", metavar="HOST:PORT", help="the broker to ask")
    parser.add_argument(
        "--timeout",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long to wait for the answer (default 5)",
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        help=f"address to listen on (default {DEFAULT_HOST}); the same as listeners=PLAINTEXT://HOST:PORT",
    )
    parser.add_argument(
        "--port", type=int, help=f"port to listen on (default {DEFAULT_PORT}); 0 takes a free one"
    )
    parser.add_argument(
        "--brokers",
        type=int,
        default=1,
        metavar="N",
        help="a cluster of N brokers in this process, on N ports and with N node ids from the first one's on; "
        "all of their data is in the first one's directories (default 1)",
    )
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", help=f"where the data lives (default {DEFAULT_DATA_DIR}, or log.dirs)")
    parser.add_argument("--config", metavar="FILE", help="a Kafka server.properties file")
    parser.add_argument(
        "--override",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set one Kafka broker setting; repeatable",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="how much to say on standard error (default info)",
    )


def _add_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api", required=True, help="name of the API, for example Fetch")
    parser.add_argument("--version", required=True, type=int, dest="api_version")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument(
        "--request", metavar="FILE|HEX", help="a request's body: a file, or hexadecimal digits"
    )
    direction.add_argument("--response", metavar="FILE|HEX", help="a response's body")
    parser.add_argument(
        "--with-header", action="store_true", help="the bytes begin with the request or response header"
    )
