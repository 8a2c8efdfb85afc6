"""Where a broker's static configuration comes from, in rising priority: what kbroker assumes, a
``server.properties`` file, ``KAFKA_*`` environment variables, and ``--override key=value``.

All functions are pure: the caller reads the file and passes the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from kbroker.config.definition import ConfigError
from kbroker.config.listeners import listener_text

ENVIRONMENT_PREFIX = "KAFKA_"
CLUSTER_ID_VARIABLE = "CLUSTER_ID"
CLUSTER_ID_KEY = "kbroker.cluster.id"

_NOT_CONFIG = frozenset(
    {
        "KAFKA_VERSION",
        "KAFKA_HEAP_OPTS",
        "KAFKA_OPTS",
        "KAFKA_JMX_OPTS",
        "KAFKA_JMX_PORT",
        "KAFKA_JMX_HOSTNAME",
        "KAFKA_JVM_PERFORMANCE_OPTS",
        "KAFKA_GC_LOG_OPTS",
        "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    }
)
_NOT_CONFIG_PREFIX = "KAFKA_LOG4J"

_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANK = " \t\f"
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(data: bytes | str) -> dict[str, str]:
    """The entries of a Java ``.properties`` file; a later entry replaces an earlier one of the same key.

    Bytes are read as ISO-8859-1, as ``java.util.Properties`` reads them; other characters need ``\\uXXXX``.
    ConfigError for a malformed escape.
    """
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    entries: dict[str, str] = {}
    for line in _logical_lines(text):
        key, value = _split_entry(line)
        entries[_unescape(key)] = _unescape(value)
    return entries


def _logical_lines(text: str) -> Iterable[str]:
    """Lines without comments and blank ones, those that end in a backslash joined with the next."""
    pending: str | None = None
    for natural in _LINE_END.split(text):
        line = natural.lstrip(_BLANK)
        if pending is None and (not line or line[0] in "#!"):
            continue
        line = (pending or "") + line
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            pending = line[:-1]
        else:
            pending = None
            yield line
    if pending:
        yield pending


def _split_entry(line: str) -> tuple[str, str]:
    """Key and value, still escaped: the key ends at the first ``=``, ``:`` or blank without a backslash."""
    end = 0
    while end < len(line) and line[end] not in "=:" + _BLANK:
        end += 2 if line[end] == "\\" else 1
    rest = line[end:].lstrip(_BLANK)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANK)
    return line[:end], rest


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    result: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and position < len(text):
            character = text[position]
            position += 1
            if character == "u":
                digits = text[position : position + 4]
                if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                    raise ConfigError("server.properties", text, "\\u must be followed by four hex digits")
                character = chr(int(digits, 16))
                position += 4
            else:
                character = _ESCAPED.get(character, character)
        result.append(character)
    return "".join(result)


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Config entries in the variables that the apache/kafka image would take for config.

    ``KAFKA_LOG_SEGMENT_BYTES`` is ``log.segment.bytes``; two underscores stand for one, three for a dash.
    """
    entries: dict[str, str] = {}
    for variable, value in sorted(environment.items()):
        if variable == CLUSTER_ID_VARIABLE and value:
            entries.setdefault(CLUSTER_ID_KEY, value)
        elif _names_config(variable):
            entries[_environment_key(variable)] = value
    return entries


def _names_config(variable: str) -> bool:
    return (
        variable.startswith(ENVIRONMENT_PREFIX)
        and variable != ENVIRONMENT_PREFIX
        and variable not in _NOT_CONFIG
        and not variable.startswith(_NOT_CONFIG_PREFIX)
    )


def _environment_key(variable: str) -> str:
    dotted = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", ".")
    # The image's order: longer runs of underscores are taken from the left, three before two.
    return dotted.replace("...", "-").replace("..", "_")


def parse_override(text: str) -> tuple[str, str]:
    """``key=value`` of ``--override``; everything after the first ``=`` is the value."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("--override", text, "expected key=value")
    return key.strip(), value


def gather(
    *,
    properties: bytes | str | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    default_host: str = "127.0.0.1",
    default_port: int = 9092,
    default_data_directory: str | None = None,
) -> dict[str, str]:
    """All static entries, each from its strongest source.

    The ``default_*`` values speak only where no source says anything about them. ``advertised.listeners``
    from the environment alone makes the broker listen on the same ports of every interface, as in the
    apache/kafka image.
    """
    from_variables = from_environment(environment or {})
    entries = parse_properties(properties) if properties is not None else {}
    entries.update(from_variables)
    entries.update(parse_override(override) for override in overrides)
    if "listeners" not in entries:
        advertised = from_variables.get("advertised.listeners")
        if advertised:
            entries["listeners"] = re.sub(r"://(\[[^\]]*\]|[^:,]*):", "://0.0.0.0:", advertised)
        else:
            entries["listeners"] = listener_text("PLAINTEXT", default_host, default_port)
    if default_data_directory is not None and "log.dirs" not in entries and "log.dir" not in entries:
        entries["log.dirs"] = default_data_directory
    return entries
