"""Properties files, environment variables, overrides, and which of them wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.config.definition import ConfigError
from kbroker.config.sources import from_environment, gather, parse_override, parse_properties


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a=b", {"a": "b"}),
        ("a = b ", {"a": "b "}),
        ("a:b", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("a\t=\tb", {"a": "b"}),
        ("  a  =  b", {"a": "b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", {"": "b"}),
        ("a==b", {"a": "=b"}),
        ("a=b=c:d e", {"a": "b=c:d e"}),
        ("a\\=b=c", {"a=b": "c"}),
        ("a\\ b=c", {"a b": "c"}),
        ("a\\:b c", {"a:b": "c"}),
        ("# a=b\n! c=d\n\n  # e=f\ng=h", {"g": "h"}),
        ("a=#b", {"a": "#b"}),
        ("a=b\r\nc=d\re=f\ng=h", {"a": "b", "c": "d", "e": "f", "g": "h"}),
        ("a=b,\\\n   c,\\\n\td", {"a": "b,c,d"}),
        ("a=b\\\n# still a", {"a": "b# still a"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        ("a=b\\", {"a": "b"}),
        ("a=\\\n\nc=d", {"a": "", "c": "d"}),
        ("a=\\t\\n\\r\\f\\u00e9\\q", {"a": "\t\n\r\f\u00e9q"}),
        ("a=1\na=2", {"a": "2"}),
        ("", {}),
    ],
)
def test_properties_syntax(text: str, entries: dict[str, str]) -> None:
    assert parse_properties(text) == entries


def test_properties_bytes_are_latin_1() -> None:
    assert parse_properties("rack=Z\u00fcrich".encode("latin-1")) == {"rack": "Z\u00fcrich"}


@pytest.mark.parametrize("text", ["a=\\u12", "a=\\u12g4", "\\u=b"])
def test_malformed_unicode_escape_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"four hex digits"):
        parse_properties(text)


def escaped(text: str) -> str:
    """As ``java.util.Properties.store`` writes it."""
    special = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
    return "".join(
        special.get(character)
        or (f"\\{character}" if character in "\\=:#! " else None)
        or (character if " " < character < "\x7f" else f"\\u{ord(character):04x}")
        for character in text
    )


text_of_properties = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(text_of_properties.filter(bool), text_of_properties, max_size=5))
def test_what_java_stores_is_read_back(entries: dict[str, str]) -> None:
    stored = "".join(f"{escaped(key)}={escaped(value)}\n" for key, value in entries.items())
    assert parse_properties(stored) == entries


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_config_error(text: str) -> None:
    try:
        entries = parse_properties(text)
    except ConfigError:
        assert "\\u" in text
    else:
        assert len(entries) <= len(text) + 1


def test_environment_is_named_as_in_the_apache_kafka_image() -> None:
    environment = {
        "KAFKA_LOG_SEGMENT_BYTES": "1048576",
        "KAFKA_LISTENER_NAME_EXTERNAL_SCRAM___SHA___256_SASL_JAAS_CONFIG": "x",
        "KAFKA_SOME__KEY": "y",
        "KAFKA_KBROKER_SHUTDOWN_TIMEOUT_MS": "5",
        "PATH": "/bin",
        "OTHER_KAFKA_NODE_ID": "9",
    }
    assert from_environment(environment) == {
        "log.segment.bytes": "1048576",
        "listener.name.external.scram-sha-256.sasl.jaas.config": "x",
        "some_key": "y",
        "kbroker.shutdown.timeout.ms": "5",
    }


def test_variables_of_the_image_itself_are_not_config() -> None:
    assert (
        from_environment(
            dict.fromkeys(
                [
                    "KAFKA_",
                    "KAFKA_GC_LOG_OPTS",
                    "KAFKA_HEAP_OPTS",
                    "KAFKA_JMX_HOSTNAME",
                    "KAFKA_JMX_OPTS",
                    "KAFKA_JMX_PORT",
                    "KAFKA_JVM_PERFORMANCE_OPTS",
                    "KAFKA_LOG4J_LOGGERS",
                    "KAFKA_LOG4J_OPTS",
                    "KAFKA_LOG4J_ROOT_LOGLEVEL",
                    "KAFKA_OPTS",
                    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
                    "KAFKA_VERSION",
                ],
                "x",
            )
        )
        == {}
    )


def test_cluster_id_variable() -> None:
    assert from_environment({"CLUSTER_ID": "abc"}) == {"kbroker.cluster.id": "abc"}
    assert from_environment({"CLUSTER_ID": ""}) == {}
    assert from_environment({"CLUSTER_ID": "abc", "KAFKA_KBROKER_CLUSTER_ID": "def"}) == {
        "kbroker.cluster.id": "def"
    }


def test_overrides() -> None:
    assert parse_override("a.b=c=d") == ("a.b", "c=d")
    assert parse_override(" a = b") == ("a", " b")
    assert parse_override("a=") == ("a", "")
    for malformed in ("a", "=b", " =b", ""):
        with pytest.raises(ConfigError, match="expected key=value"):
            parse_override(malformed)


def test_later_sources_win() -> None:
    entries = gather(
        properties="a=file\nb=file\nc=file",
        environment={"KAFKA_B": "environment", "KAFKA_C": "environment"},
        overrides=["c=override", "c=last override"],
    )
    assert (entries["a"], entries["b"], entries["c"]) == ("file", "environment", "last override")


def test_defaults_speak_only_where_nothing_else_does() -> None:
    assert gather(default_data_directory="data") == {
        "listeners": "PLAINTEXT://127.0.0.1:9092",
        "log.dirs": "data",
    }
    assert gather(default_host="::1", default_port=0)["listeners"] == "PLAINTEXT://[::1]:0"
    assert gather(properties="listeners=A://:1", default_port=7)["listeners"] == "A://:1"
    assert "log.dirs" not in gather(properties="log.dir=/x", default_data_directory="data")
    assert gather(overrides=["log.dirs=/x"], default_data_directory="data")["log.dirs"] == "/x"


def test_advertised_listeners_in_the_environment_open_their_ports_on_every_interface() -> None:
    variables = {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://broker.example:9092,V6://[2001:db8::1]:9094"}
    entries = gather(environment=variables)
    assert entries["listeners"] == "PLAINTEXT://0.0.0.0:9092,V6://0.0.0.0:9094"
    assert gather(environment=variables, properties="listeners=A://:1")["listeners"] == "A://:1"
