"""Connect standalone: a file's lines into a topic and from there into another file, over a restart."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compat.conftest import UniqueName
from compat.java_tools.invocation import NewTopic, Tools
from compat.reference.maven import NoReferenceError, class_path
from compat.reference.tools import JAVA
from tests.broker_process import die_with_parent, free_port

DEADLINE_S = 120.0
LINES = 100
POM = Path(__file__).parent / "connect" / "pom.xml"
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)


class Worker:
    """One Connect worker with a file source and a file sink; its directory holds all that it keeps."""

    def __init__(
        self, class_path: str, directory: Path, bootstrap_servers: str, topic: str, name: str
    ) -> None:
        self.source, self.sink = directory / "source.txt", directory / "sink.txt"
        self._errors = directory / "worker.log"
        self._java = [*JAVA, *LOGGING, "-cp", class_path, "org.apache.kafka.connect.cli.ConnectStandalone"]
        self._process: subprocess.Popen[bytes] | None = None
        worker = {
            "bootstrap.servers": bootstrap_servers,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "offset.storage.file.filename": directory / "source.offsets",
            "offset.flush.interval.ms": 500,
            "plugin.discovery": "service_load",
        }
        files = "org.apache.kafka.connect.file.FileStream"
        source = {
            "name": f"{name}-source",
            "connector.class": f"{files}SourceConnector",
            "tasks.max": 1,
            "file": self.source,
            "topic": topic,
        }
        sink = {
            "name": f"{name}-sink",
            "connector.class": f"{files}SinkConnector",
            "tasks.max": 1,
            "file": self.sink,
            "topics": topic,
        }
        self._worker_settings = worker
        self._worker_file = directory / "worker.properties"
        self._connector_files = [directory / "source.properties", directory / "sink.properties"]
        for file, settings in zip(self._connector_files, (source, sink), strict=True):
            _write(file, settings)

    def start(self) -> None:
        _write(self._worker_file, {**self._worker_settings, "listeners": f"http://127.0.0.1:{free_port()}"})
        line = [*self._java, str(self._worker_file), *map(str, self._connector_files)]
        with self._errors.open("ab") as log:
            self._process = subprocess.Popen(
                [*die_with_parent(), *line], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait_for_lines(self, lines: list[str]) -> None:
        """Until the sink's file holds these, or at the deadline something else."""
        assert self._process is not None
        deadline = time.monotonic() + DEADLINE_S
        while len(self._read()) < len(lines) and time.monotonic() < deadline:
            assert self._process.poll() is None, self._errors.read_text()[-3_000:]
            time.sleep(0.05)
        assert self._read() == lines

    def _read(self) -> list[str]:
        return self.sink.read_text().splitlines() if self.sink.exists() else []

    def stop(self) -> None:
        """SIGTERM: offsets and positions are committed."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _write(file: Path, settings: dict[str, object]) -> None:
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")


@pytest.fixture
def worker(
    tools: Tools,
    unique_name: UniqueName,
    missing: Callable[[str], None],
    tmp_path: Path,
) -> Iterator[Callable[[str], Worker]]:
    made: list[Worker] = []
    try:
        path = class_path(POM)
    except NoReferenceError as error:
        missing(str(error))
        raise

    def make(topic: str) -> Worker:
        made.append(Worker(path, tmp_path, tools.bootstrap_servers, topic, unique_name("file")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_lines_go_through_once_over_a_restart(
    tools: Tools, new_topic: NewTopic, worker: Callable[[str], Worker]
) -> None:
    topic = new_topic()
    files = worker(topic)
    tools.used.add("connect-standalone")
    lines = [f"line {number}" for number in range(3 * LINES)]

    def append(more: list[str]) -> None:
        with files.source.open("a") as source:
            source.writelines(f"{line}\n" for line in more)

    append(lines[:LINES])
    files.start()
    files.wait_for_lines(lines[:LINES])
    append(lines[LINES : 2 * LINES])
    files.wait_for_lines(lines[: 2 * LINES])
    files.stop()
    append(lines[2 * LINES :])
    files.start()
    files.wait_for_lines(lines)
    files.stop()

    assert tools("kafka-get-offsets", "--topic", topic) == f"{topic}:0:{len(lines)}\n"
    read = tools(
        "kafka-console-consumer", "--topic", topic, "--from-beginning", f"--max-messages={len(lines)}"
    )
    assert read.splitlines() == lines
