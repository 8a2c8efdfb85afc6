"""The other programs of Kafka's ``bin`` directory."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbroker.cli.scripts import run_class, server_start, server_stop
from tests.broker_process import REPOSITORY, BrokerProcess, free_port

BIN = REPOSITORY / "container" / "opt" / "kafka" / "bin"


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One of the image's programs, by the name of its module."""
    return subprocess.run(
        [sys.executable, "-c", f"from kbroker.cli.scripts.{program} import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        check=False,
    )


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with BrokerProcess(
        tmp_path_factory.mktemp("broker"), overrides={"kbroker.cluster.id": "a-cluster"}
    ) as broker:
        broker.start()
        yield broker.bootstrap_server


def test_the_images_programs_are_modules_with_a_main() -> None:
    programs = list(BIN.glob("*.sh"))
    assert len(programs) == 6
    for program in programs:
        text = program.read_text()
        assert text.startswith("#!/opt/kbroker/bin/python\n")
        (module,) = re.findall(r"^from (kbroker\.\S+) import main$", text, re.MULTILINE)
        assert callable(importlib.import_module(module).main)
        assert os.access(program, os.X_OK)


@pytest.mark.slow
def test_the_clusters_id(bootstrap: str) -> None:
    done = run("cluster", "cluster-id", "--bootstrap-server", bootstrap)
    assert (done.returncode, done.stdout) == (0, "Cluster ID: a-cluster\n"), done.stderr


@pytest.mark.slow
def test_a_broker_that_is_not_registered_cannot_be_unregistered(bootstrap: str) -> None:
    done = run("cluster", "unregister", "--bootstrap-server", bootstrap, "--id", "7")
    assert (done.returncode, done.stdout) == (1, "")
    assert "7" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_quorums_status_and_replication(bootstrap: str) -> None:
    done = run("metadata_quorum", "--bootstrap-server", bootstrap, "describe", "--status")
    assert done.returncode == 0, done.stderr
    status = dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert list(status) == [
        *("ClusterId", "LeaderId", "LeaderEpoch", "HighWatermark", "MaxFollowerLag", "MaxFollowerLagTimeMs"),
        *("CurrentVoters", "CurrentObservers"),
    ]
    assert (status["ClusterId"], status["LeaderId"], status["CurrentObservers"]) == ("a-cluster", "1", "[]")
    assert status["CurrentVoters"] == f'[{{"id": 1, "endpoints": ["PLAINTEXT://{bootstrap}"]}}]'

    done = run("metadata_quorum", "--bootstrap-server", bootstrap, "describe", "--replication")
    heading, row = done.stdout.splitlines()
    columns = dict(zip(re.split(r"\s+", heading.strip()), re.split(r"\s+", row.strip()), strict=True))
    assert (columns["NodeId"], columns["Lag"], columns["Status"]) == ("1", "0", "Leader")
    assert columns["DirectoryId"] == "A" * 22


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("cluster", ()),
        ("cluster", ("cluster-id",)),
        ("cluster", ("unregister", "--bootstrap-server", "localhost:1")),
        ("metadata_quorum", ("--bootstrap-server", "localhost:1")),
        ("metadata_quorum", ("--bootstrap-server", "localhost:1", "describe")),
        ("metadata_quorum", ("--bootstrap-server", "localhost:1", "describe", "--status", "--replication")),
        ("server_start", ()),
        ("server_start", ("-daemon", "server.properties")),
        ("server_start", ("server.properties", "--override")),
        ("server_start", ("server.properties", "more")),
        ("run_class", ()),
        ("run_class", ("kafka.tools.JmxTool",)),
        ("run_class", ("com.example.TopicCommand",)),
    ],
)
def test_mistakes_end_with_1_and_say_why(
    program: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"kbroker.cli.scripts.{program}")
    with pytest.raises(SystemExit) as ended:
        module.main(list(arguments))
    assert ended.value.code == 1
    assert capsys.readouterr().err


def test_classes_are_commands_that_exist() -> None:
    for module in run_class.MODULES.values():
        assert callable(importlib.import_module(module).main)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["kafka.admin", "org.apache.kafka.tools"])
def test_a_class_gets_its_arguments(bootstrap: str, package: str) -> None:
    topic = f"of-{package}"
    made = run(
        "run_class",
        *("-loggc", "-name", "x", f"{package}.TopicCommand"),
        *("--bootstrap-server", bootstrap, "--create", "--topic", topic),
    )
    assert made.returncode == 0, made.stderr
    offsets = run(
        "run_class", "kafka.tools.GetOffsetShell", "--bootstrap-server", bootstrap, "--topic", topic
    )
    assert (offsets.returncode, offsets.stdout) == (0, f"{topic}:0:0\n"), offsets.stderr


def test_start_takes_its_settings_from_the_file_alone() -> None:
    assert server_start.command_line(["f.properties", "--override", "a=b", "--override", "c=d"]) == [
        *("container", "--config", "f.properties", "--override", "a=b", "--override", "c=d"),
    ]
    environment = {
        "KAFKA_NUM_PARTITIONS": "3",
        "CLUSTER_ID": "x",
        "KAFKA_HEAP_OPTS": "-Xmx1G",
        "PATH": "/bin",
    }
    assert sorted(server_start.settings_in(environment)) == ["CLUSTER_ID", "KAFKA_NUM_PARTITIONS"]


@pytest.mark.slow
def test_a_node_is_started_with_a_file_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "server.properties"
    config.write_text(f"node.id=3\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={tmp_path}/data\n")
    command = [sys.executable, str(BIN / "kafka-server-start.sh"), str(config), "--override", "node.id=4"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "KAFKA_NODE_ID": "9", "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert "node.id=4" in process.stdout.readline()
        assert process.pid in server_stop.broker_processes(Path("/proc"), os.getpid())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def fake_processes(proc: Path, **command_lines: list[str]) -> None:
    for number, words in command_lines.items():
        directory = proc / number.removeprefix("p")
        directory.mkdir()
        (directory / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())


def test_stop_finds_brokers_however_they_were_started(tmp_path: Path) -> None:
    fake_processes(
        tmp_path,
        p1=["/opt/kbroker/bin/python", "/opt/kbroker/bin/kbroker", "container"],
        p2=["python3", "-m", "kbroker", "serve", "--brokers", "3"],
        p3=["/opt/kbroker/bin/python", "/opt/kafka/bin/kafka-server-start.sh", "server.properties"],
        p4=["/opt/kbroker/bin/python", "/opt/kafka/bin/kafka-server-stop.sh"],
        p5=["/opt/kbroker/bin/python", "/opt/kbroker/bin/kbroker", "health"],
        p6=["sh", "-c", "exec kbroker container"],
        p7=[],
        p8=["python3", "-m", "kbroker", "container"],
    )
    assert list(server_stop.broker_processes(tmp_path, me=8)) == [1, 2, 3]


@pytest.mark.parametrize("somebody_elses", [(), (3,)])
def test_stop_without_a_broker(
    somebody_elses: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(process_id: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(server_stop, "broker_processes", lambda proc, me: iter(somebody_elses))
    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(SystemExit) as ended:
        server_stop.main([])
    assert ended.value.code == 1
    assert capsys.readouterr().out == "No kafka server to stop\n"


def test_stop_asks_them_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(server_stop, "broker_processes", lambda proc, me: iter((3, 4)))
    monkeypatch.setattr(os, "kill", lambda process_id, number: asked.append((process_id, number)))
    with pytest.raises(SystemExit) as ended:
        server_stop.main([])
    assert ended.value.code == 0
    assert asked == [(3, signal.SIGTERM), (4, signal.SIGTERM)]
