"""What ``kbroker container`` fills in, and what it leaves alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import ANY, patch

import pytest

from kbroker.cli.command import main
from kbroker.cli.container import (
    ANY_HOST,
    DATA_DIR,
    KAFKAS_DATA_DIRS,
    announce,
    default_data_dir,
    fill_in,
    mounted_config,
)
from kbroker.config.broker_config import BrokerConfig
from kbroker.config.definition import ConfigError

NOWHERE = Path("/nonexistent/server.properties")


def filled_in(
    *arguments: str, environment: dict[str, str] | None = None, mounted: Path = NOWHERE
) -> argparse.Namespace:
    """The options of ``kbroker container ARGUMENTS`` as serve would get them."""
    given: list[argparse.Namespace] = []
    with patch("kbroker.cli.container.serve_in_container", given.append), pytest.raises(SystemExit):
        main(["container", *arguments])
    (options,) = given
    fill_in(options, environment or {}, mounted)
    return options


def test_with_nothing_said_it_listens_everywhere_and_stores_in_the_volume() -> None:
    options = filled_in()
    assert (options.host, options.port, options.data_dir) == (ANY_HOST, None, DATA_DIR)
    assert (options.config, options.log_level) == (None, "info")
    assert options.brokers == 1


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        pytest.param((), {"KAFKA_LISTENERS": "PLAINTEXT://:9095"}, id="variable"),
        pytest.param(("--override", "listeners=PLAINTEXT://:9095"), {}, id="override"),
        pytest.param(("--host", "127.0.0.1"), {}, id="option"),
        # Its ports are opened on every address by config.sources.gather.
        pytest.param((), {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://me:9095"}, id="advertised"),
    ],
)
def test_a_listener_said_elsewhere_stays(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    assert filled_in(*arguments, environment=environment).host in (None, "127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        pytest.param((), {"KAFKA_LOG_DIRS": "/elsewhere"}, id="log.dirs"),
        pytest.param((), {"KAFKA_LOG_DIR": "/elsewhere"}, id="log.dir"),
        pytest.param(("--override", "log.dirs=/elsewhere"), {}, id="override"),
        pytest.param(("--data-dir", "/elsewhere"), {}, id="option"),
    ],
)
def test_a_directory_said_elsewhere_stays(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    assert filled_in(*arguments, environment=environment).data_dir in (None, "/elsewhere")


def test_a_port_alone_is_opened_on_every_address() -> None:
    options = filled_in("--port", "9095", environment={"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://me:1"})
    assert (options.host, options.port) == (ANY_HOST, 9095)


def test_a_mounted_file_is_used_and_its_keys_stay(tmp_path: Path) -> None:
    mounted = tmp_path / "server.properties"
    mounted.write_text("listeners=PLAINTEXT://:9095\nlog.dirs=/elsewhere\n")
    options = filled_in(mounted=mounted)
    assert (options.config, options.host, options.data_dir) == (str(mounted), None, None)


def test_a_mounted_file_that_says_nothing_of_them_leaves_the_defaults(tmp_path: Path) -> None:
    mounted = tmp_path / "server.properties"
    mounted.write_text("num.partitions=3\nadvertised.listeners=PLAINTEXT://me:9092\n")
    options = filled_in(mounted=mounted)
    assert (options.config, options.host, options.data_dir) == (str(mounted), ANY_HOST, DATA_DIR)


def test_a_config_option_takes_the_place_of_the_mounted_file(tmp_path: Path) -> None:
    mounted, chosen = tmp_path / "server.properties", tmp_path / "chosen.properties"
    mounted.write_text("log.dirs=/elsewhere\n")
    chosen.write_text("")
    options = filled_in("--config", str(chosen), mounted=mounted)
    assert (options.config, options.data_dir) == (str(chosen), DATA_DIR)


@pytest.mark.parametrize(
    "arguments",
    [("--override", "no-equals-sign"), ("--config", str(NOWHERE))],
    ids=["override", "config"],
)
def test_what_makes_no_sense_is_left_to_serve(arguments: tuple[str, ...]) -> None:
    options = filled_in(*arguments)
    assert (options.host, options.data_dir) == (None, None)


@pytest.mark.parametrize(
    ("said", "level"),
    [("DEBUG", "debug"), ("trace", "debug"), ("WARN", "warning"), ("OFF", "error"), ("LOUD", "info")],
)
def test_the_images_log_level_variable_acts(said: str, level: str) -> None:
    assert filled_in(environment={"KAFKA_LOG4J_ROOT_LOGLEVEL": said}).log_level == level
    assert (
        filled_in("--log-level", "info", environment={"KAFKA_LOG4J_ROOT_LOGLEVEL": said}).log_level == "info"
    )


def test_advertised_listeners_alone_open_their_ports_on_every_address() -> None:
    """What the omission of a host above relies on."""
    environment = {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://me:9095"}
    (endpoint,) = BrokerConfig.load(environment=environment).endpoints
    assert endpoint == ("PLAINTEXT", ANY, ANY_HOST, 9095)


def test_a_mounted_file_that_cannot_be_looked_at_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that serve fails on it; starting without it would be worse."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert mounted_config(NOWHERE) == str(NOWHERE)


@pytest.mark.parametrize(
    ("arguments", "environment", "count"),
    [
        ((), {"KBROKER_BROKERS": "3"}, 3),
        (("--brokers", "2"), {"KBROKER_BROKERS": "3"}, 2),
        (("--brokers", "1"), {"KBROKER_BROKERS": "3"}, 1),
    ],
)
def test_a_variable_says_how_many_brokers(
    arguments: tuple[str, ...], environment: dict[str, str], count: int
) -> None:
    assert filled_in(*arguments, environment=environment).brokers == count


@pytest.mark.parametrize("text", ["", "three", "-1", "³"])
def test_a_number_of_brokers_must_be_one(text: str) -> None:
    with pytest.raises(ConfigError, match="KBROKER_BROKERS"):
        filled_in(environment={"KBROKER_BROKERS": text})


@pytest.mark.parametrize(
    ("mounted", "used"),
    [("/tmp", DATA_DIR), *zip(KAFKAS_DATA_DIRS, KAFKAS_DATA_DIRS, strict=True)],
)
def test_what_is_mounted_where_kafka_keeps_its_data_is_used(mounted: str, used: str, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    assert default_data_dir(table) == DATA_DIR
    rows = (
        "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw",
        f"36 22 8:1 /data {mounted} rw - ext4 /dev/sda1 rw",
    )
    table.write_text("\n".join(rows) + "\n", encoding="ascii")
    assert default_data_dir(table) == used


def test_readiness_is_told_in_the_words_that_others_wait_for(capsys: pytest.CaptureFixture[str]) -> None:
    announce("kbroker ready bootstrap=x")
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "kbroker ready bootstrap=x"
    assert any("Transitioning from RECOVERY to RUNNING" in line for line in others)
    assert any("Kafka Server started" in line for line in others)
