"""``kbroker container``: ``kbroker serve`` with what fits the inside of a container image.

Listens on every address instead of on 127.0.0.1, keeps its data where the image has its volume, takes a mounted
``server.properties`` and the log level from where the apache/kafka image takes them, and runs as many brokers as
``KBROKER_BROKERS`` says. All of that only where the command line, the environment and the mounted file say nothing
else.

``controller.quorum.voters`` and ``process.roles`` act as in Kafka: nodes that name several voters, or only use them,
are one cluster, and a voter has an etcd member beside it (``kbroker.cli.quorum``). What a node is then:

    process.roles        voters                    this process
    broker,controller    itself alone, or none     a broker with a metadata store of its own
    broker,controller    several                   etcd, then a broker
    controller           one or several            etcd
    broker               one or several            a broker that uses their etcd
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kbroker.cli.quorum.voters import SETTINGS_ACTED_ON, QuorumPart, VoterSettings, quorum_part
from kbroker.config.definition import ConfigError
from kbroker.config.sources import from_environment, parse_override, parse_properties

if TYPE_CHECKING:
    from kbroker.cli.quorum.member import QuorumMember

ANY_HOST = "0.0.0.0"
DATA_DIR = "/var/lib/kafka/data"
MOUNTED_CONFIG = Path("/mnt/shared/config/server.properties")
MOUNT_TABLE = Path("/proc/self/mountinfo")
LOG_LEVEL_VARIABLE = "KAFKA_LOG4J_ROOT_LOGLEVEL"
BROKERS_VARIABLE = "KBROKER_BROKERS"

KAFKAS_DATA_DIRS = ("/tmp/kraft-combined-logs", "/tmp/kafka-logs")
"""Where the apache/kafka image keeps its data if nobody says otherwise: as its own file says, or Kafka's default."""

_LOG_LEVELS = {
    "TRACE": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARN": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "OFF": "error",
}


def serve_in_container(options: argparse.Namespace) -> int:
    """Fill in the container's defaults and serve; the exit codes of ``kbroker serve``."""
    from kbroker.cli.serve import EXIT_BAD_SETTINGS, serve, static_settings

    try:
        fill_in(options, os.environ)
        part = quorum_part(static_settings(options), os.environ)
    except (ConfigError, OSError) as refusal:
        print(f"kbroker: {refusal}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    if part is None:
        return serve(options, acted_on=SETTINGS_ACTED_ON, announce=announce)
    if part.voter is not None and shutil.which("etcd") is None:
        print(f"kbroker: {_without_etcd(part.voter)}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    return _serve_with_quorum(options, part)


def _serve_with_quorum(options: argparse.Namespace, part: QuorumPart) -> int:
    from kbroker.cli.serve import serve

    member = _member(part.voter) if part.voter is not None else None
    if not part.is_broker:
        from kbroker.cli.quorum.controller import serve_controller

        assert member is not None, "a node is a broker or a voter"
        return serve_controller(options, member)
    options.override[:0] = [
        "kbroker.metadata.store=etcd",
        f"kbroker.etcd.endpoints={','.join(part.endpoints)}",
    ]
    return serve(options, companion=member, acted_on=SETTINGS_ACTED_ON, announce=announce)


def _member(voter: VoterSettings) -> QuorumMember:
    from kbroker.cli.quorum.member import QuorumMember
    from kbroker.os_world import OsWorld

    return QuorumMember(voter, OsWorld(), shutil.which("etcd") or "etcd", os.environ)


def _without_etcd(voter: VoterSettings) -> str:
    return (
        f"controller.quorum.voters={voter.voters_text}: this node's part of the quorum is an etcd member, and there is "
        "no etcd in this image. Build it with WITH_ETCD=1, or run etcd elsewhere and name it with "
        "KAFKA_KBROKER_METADATA_STORE=etcd and KAFKA_KBROKER_ETCD_ENDPOINTS (docs/CLUSTER.md)."
    )


def announce(ready: object) -> None:
    """Say that clients can connect, also in the words for which people wait in the logs of Apache Kafka's image.

    Testcontainers and many scripts look for one of these in a container's output before they go on.
    """
    print(ready)
    print("[kbroker] Transitioning from RECOVERY to RUNNING")
    print("[kbroker] Kafka Server started", flush=True)


def mounted_config(path: Path = MOUNTED_CONFIG) -> str | None:
    """The mounted ``server.properties``, if there is one."""
    try:
        is_there = path.is_file()
    except OSError:  # in a directory that may not be entered: who reads it says so
        is_there = True
    return str(path) if is_there else None


def default_data_dir(mount_table: Path = MOUNT_TABLE) -> str:
    """The image's volume, unless somebody has mounted something where Kafka keeps its data by default.

    ``os.path.ismount`` would miss a directory that was mounted from the image's own filesystem.
    """
    try:
        rows = mount_table.read_bytes().splitlines()
    except OSError:
        return DATA_DIR
    mounted = {os.fsdecode(row.split(b" ")[4]) for row in rows}  # the mount point, see proc(5)
    return next((directory for directory in KAFKAS_DATA_DIRS if directory in mounted), DATA_DIR)


def fill_in(
    options: argparse.Namespace, environment: Mapping[str, str], mounted: Path = MOUNTED_CONFIG
) -> None:
    """Set those of ``kbroker serve``'s options that nobody has set otherwise."""
    if options.config is None:
        options.config = mounted_config(mounted)
    if options.log_level is None:
        options.log_level = _LOG_LEVELS.get(environment.get(LOG_LEVEL_VARIABLE, "INFO").upper(), "info")
    if options.brokers is None:
        options.brokers = _broker_count(environment)
    variables = from_environment(environment)
    try:
        keys = {parse_override(override)[0] for override in options.override}
        if options.config is not None:
            keys.update(parse_properties(Path(options.config).read_bytes()))
    except (ConfigError, OSError):
        return  # serve reads the same again and says what is wrong
    keys.update(variables)
    # advertised.listeners from the environment already says which ports to open (config.sources.gather).
    listens_as_advertised = "advertised.listeners" in variables and options.port is None
    if options.host is None and "listeners" not in keys and not listens_as_advertised:
        options.host = ANY_HOST
    if options.data_dir is None and not keys & {"log.dirs", "log.dir"}:
        options.data_dir = default_data_dir()


def _broker_count(environment: Mapping[str, str]) -> int:
    text = environment.get(BROKERS_VARIABLE, "1")
    if not text.isascii() or not text.isdecimal():
        raise ConfigError(BROKERS_VARIABLE, text, "expected a number of brokers")
    return int(text)
