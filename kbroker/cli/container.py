"""``kbroker container``: ``kbroker serve`` with what fits the inside of a container image.

Listens on every address instead of on 127.0.0.1, keeps its data where the image has its volume, and takes a
mounted ``server.properties`` and the log level from where the apache/kafka image takes them. All of that only
where the command line, the environment and the mounted file say nothing else.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from kbroker.config.definition import ConfigError
from kbroker.config.sources import from_environment, parse_override, parse_properties

ANY_HOST = "0.0.0.0"
DATA_DIR = "/var/lib/kafka/data"
MOUNTED_CONFIG = Path("/mnt/shared/config/server.properties")
LOG_LEVEL_VARIABLE = "KAFKA_LOG4J_ROOT_LOGLEVEL"

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
    from kbroker.cli.serve import serve

    fill_in(options, os.environ)
    return serve(options)


def mounted_config(path: Path = MOUNTED_CONFIG) -> str | None:
    """The mounted ``server.properties``, if there is one."""
    try:
        is_there = path.is_file()
    except OSError:  # in a directory that may not be entered: who reads it says so
        is_there = True
    return str(path) if is_there else None


def fill_in(
    options: argparse.Namespace, environment: Mapping[str, str], mounted: Path = MOUNTED_CONFIG
) -> None:
    """Set those of ``kbroker serve``'s options that nobody has set otherwise."""
    if options.config is None:
        options.config = mounted_config(mounted)
    if options.log_level is None:
        options.log_level = _LOG_LEVELS.get(environment.get(LOG_LEVEL_VARIABLE, "INFO").upper(), "info")
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
        options.data_dir = DATA_DIR
